"""Part of the second step: compute a share of a training that another process of the same launcher keeps."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from pneumonia.config.schema import Config
from pneumonia.data import packing
from pneumonia.data.manifest import Manifest
from pneumonia.modelling.identity import training_key
from pneumonia.modelling.launching import own_compute
from pneumonia.modelling.training_loop import help_fit
from pneumonia.modelling.training_set import TrainingSet
from pneumonia.modelling.workers import Launch
from pneumonia.progress import Progress, silent
from pneumonia.records.steps import Dataset
from tasks.prepare_data import prepare_data

log = logging.getLogger(__name__)


def is_helper() -> bool:
    """Return whether a launcher such as torchrun has started this process beside the one that runs the steps."""
    launch = Launch.found()
    return launch is not None and launch.rank > 0


def help_training(config: Config, progress: Progress = silent) -> None:
    """Prepare the images, wait for the process that runs the steps, and compute a share of its training.

    The work folder may be shared with that process or not: the images' digests are compared. No run, model or
    checkpoint is written here.

    Args:
        config: the resolved configuration, the same in all processes.
        progress: of the preparation.

    Raises:
        DataError: the images cannot be used, or are not those of the other processes.
        TrainingInterrupted: SIGTERM was received.
        WorkerLost: another process is gone.
    """
    launch = Launch.found()
    if launch is None or not launch.rank:
        raise RuntimeError("this process runs the steps itself")
    # the first process of a machine prepares at once; the others find what it has made
    dataset = prepare_data(config, progress) if not launch.local_rank else None
    if not launch.awaited():
        log.info("there is no training to help with")
        return
    dataset = dataset or prepare_data(config, progress)
    data = _images(dataset)
    with tempfile.TemporaryDirectory() as folder, launch.meet(own_compute(config).device) as workers:
        help_fit(data, config, Path(folder), training_key(dataset, config), workers)


def _images(dataset: Dataset) -> TrainingSet:
    return TrainingSet.of(packing.open_pixels(Path(dataset.pixels)), Manifest.load(Path(dataset.manifest)))
