"""A cross-validation whose process ends itself with SIGKILL in the middle of its second training.

python -m tests.support.killed_folds CONFIG_JSON FOLDS
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from typing import Any

import tasks.train_model as train
from flows.cross_validation import cross_validation
from pneumonia.config.schema import Config
from pneumonia.modelling.training_loop import fit
from pneumonia.records.epoch import Epoch

EPOCHS = 2  # of the second training, after which the process ends
trainings: list[str] = []


def killed(data: Any, config: Config, folder: Any, key: str, on_epoch: Any, on_step: Any) -> Any:
    """Train as `fit` does, and die in the second training."""
    trainings.append(key)

    def then_die(epoch: Epoch) -> None:
        on_epoch(epoch)
        if len(trainings) == 2 and epoch.epoch == EPOCHS:
            os.kill(os.getpid(), signal.SIGKILL)

    return fit(data, config, folder, key, then_die, on_step)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    train.fit = killed  # type: ignore[attr-defined]
    cross_validation(Config.model_validate_json(sys.argv[1]), [0], int(sys.argv[2]))
