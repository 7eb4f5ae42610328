"""Choose who computes a training: this process, others on this machine, or those that a launcher has started."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from pneumonia.config.schema import Config
from pneumonia.errors import ConfigError, WorkerLost
from pneumonia.modelling.device import Compute
from pneumonia.modelling.local_workers import local_workers
from pneumonia.modelling.sharded_step import sharded_compute, worker_count
from pneumonia.modelling.training_set import TrainingSet
from pneumonia.modelling.workers import Launch, Workers


def own_compute(config: Config) -> Compute:
    """Return what this process trains with."""
    launch = Launch.found()
    return sharded_compute(config.train, launch.local_rank if launch else 0)


def gathered(
    data: TrainingSet, config: Config, key: str, folder: Path, stop: threading.Event
) -> AbstractContextManager[Workers]:
    """Return the context in which the workers of a training reach one another, for worker 0.

    Args:
        data: what is trained on.
        config: the resolved configuration.
        key: of the training.
        folder: of the training.
        stop: set where this process has been asked to end; it then waits for nobody.

    Raises:
        ConfigError: a launcher has started more processes than there are shards.
    """

    def watch() -> None:
        if stop.is_set():
            raise WorkerLost("stopped before the workers had met")

    train, launch, device = config.train, Launch.found(), own_compute(config).device
    if launch is not None:
        if launch.size > train.shards:
            raise ConfigError(
                f"train.shards={train.shards}: {launch.size} processes were started for one training, and each needs a "
                f"shard; set train.shards={launch.size} or a multiple, on which the results depend, or start fewer"
            )
        return launch.meet(device, watch)
    count = worker_count(train)
    return local_workers(count, data, config, key, device, folder, watch) if count > 1 else nullcontext(Workers())
