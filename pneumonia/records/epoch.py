"""The metrics of one epoch of a training."""

from __future__ import annotations

from pneumonia.records.base import Document

EPOCH_THRESHOLD = 0.5
"""Of an epoch's metrics: an operating point is found after the training, and is no part of it."""


class Epoch(Document):
    """The metrics of one epoch.

    Precision, recall and f1 are those of PNEUMONIA on validation images, at `EPOCH_THRESHOLD`, before any calibration.
    `train_accuracy` is measured on augmented batches while the weights change. `images_per_second` counts training
    steps alone; `data_wait` is the share of their time spent on fetching pixels, before any augmentation.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    precision: float
    recall: float
    f1: float
    auroc: float
    learning_rate: float
    images_per_second: float
    seconds: float
    data_wait: float
