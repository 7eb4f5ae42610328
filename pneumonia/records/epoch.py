"""The metrics of one epoch of a training."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Epoch(BaseModel):
    """What one epoch came to; precision, recall and f1 are PNEUMONIA's at the configured threshold, on validation.

    `train_accuracy` is measured on augmented batches while the weights change. `images_per_second` counts training
    steps alone; `data_wait` is the share of their time spent on fetching pixels, before any augmentation.
    """

    model_config = ConfigDict(frozen=True)

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
