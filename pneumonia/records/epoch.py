"""The metrics of one epoch of a training."""

from __future__ import annotations

from pneumonia.records.base import Document


class Epoch(Document):
    """The metrics of one epoch.

    Precision, recall and f1 are those of PNEUMONIA on validation images, at the configured threshold. `train_accuracy`
    is measured on augmented batches while the weights change. `images_per_second` counts training steps alone;
    `data_wait` is the share of their time spent on fetching pixels, before any augmentation.
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
