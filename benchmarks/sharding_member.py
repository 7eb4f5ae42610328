"""Be one of the processes that torchrun starts for a small training; it may end itself with SIGKILL, once.

torchrun --nproc-per-node 2 benchmarks/sharding_member.py FOLDER [KEY=VALUE ...] [--kill RANK MICRO_BATCH]

Process 0 appends a line for each step to FOLDER/steps.jsonl and writes FOLDER/result.json. With --kill, the process of
that rank dies before it computes its micro-batch of this number, where FOLDER/killed does not exist yet.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pneumonia.config.resolve import resolve
from pneumonia.config.schema import Config
from pneumonia.data.images import Images
from pneumonia.errors import WorkerLost
from pneumonia.modelling import sharded_step
from pneumonia.modelling.launching import own_compute
from pneumonia.modelling.training_loop import fit, help_fit
from pneumonia.modelling.training_set import TrainingSet
from pneumonia.modelling.workers import Launch

KEY = "key"
RECIPE = (
    "data.root=phantom", "model.weights=none", "model.architecture=tiny", "preprocess.size=32", "train.device=cpu",
    "train.precision=fp32", "train.batch_size=16", "train.epochs=3", "train.optimizer=adamw", "train.schedule=cosine",
    "train.class_weights=true", "train.label_smoothing=0.05", "train.ema_decay=0.9", "train.bn_recalibration_images=32",
    "train.progressive_start_size=0", "augment.scale=0.2", "augment.noise=0.02",
)  # fmt: skip


def settings(*assignments: str) -> Config:
    """Return the small training's configuration, changed by ``section.key=value``."""
    return resolve("fast", assignments=[*RECIPE, *assignments], environment={})


def images(side: int, train: int = 60, validation: int = 16) -> TrainingSet:
    """Draw noise of a side in pixels; a quarter of the images are NORMAL, the others have a bright corner."""
    count = train + validation
    labels = (np.arange(count) % 4 > 0).astype(np.int64)
    pixels = np.random.default_rng(0).integers(40, 120, (count, side, side), dtype=np.uint8)
    pixels[labels == 1, : side * 3 // 8, : side * 3 // 8] += 60
    every = Images(pixels, np.arange(count), labels, [str(row) for row in range(count)])
    return TrainingSet(every.take(np.arange(train)), every.take(np.arange(train, count)))


def die_at(number: int, marker: Path) -> None:
    """Let this process die before its micro-batch of this number, unless the marker says that one has."""
    real, calls = sharded_step.augment, [0]

    def watched(*given: Any) -> Any:
        calls[0] += 1
        if calls[0] == number and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*given)

    sharded_step.augment = watched  # type: ignore[assignment]


def keep(folder: Path, config: Config, restart: int) -> None:
    """Run the training as process 0, and write what it came to."""

    def on_step(*progress: Any) -> None:
        line = {"step": progress[0], "time": time.time(), "restart": restart}
        with (folder / "steps.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    fitted = fit(images(config.preprocess.size), config, folder, KEY, on_step=on_step)
    result = {"digest": fitted.weights_digest, "resumed": fitted.resumed, "computed_with": fitted.computed_with}
    (folder / "result.json").write_text(json.dumps(result))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--kill", nargs=2, type=int, default=(-1, 0))
    given = parser.parse_args()
    launch, config = Launch.found(), settings(*given.settings)
    assert launch is not None, "torchrun starts this"
    if launch.rank == given.kill[0]:
        die_at(given.kill[1], given.folder / "killed")
    try:
        if not launch.rank:
            keep(given.folder, config, launch.restart)
        elif launch.awaited():
            own = given.folder / f"{launch.rank}-{launch.restart}"
            with launch.meet(own_compute(config).device) as workers:
                help_fit(images(config.preprocess.size), config, own, KEY, workers)
    except WorkerLost as lost:
        print(f"rank {launch.rank}: {lost}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
