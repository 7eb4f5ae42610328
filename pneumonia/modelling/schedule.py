"""Schedule the learning rate and the size of the images (progressive resizing)."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from pneumonia.config.schema import TrainConfig

_STRIDE = 32  # of ResNet18; with other sides a part of the last feature map is padding


def learning_rate(train: TrainConfig, done: int, steps: int) -> float:
    """Return the learning rate of the step after `done` steps; `steps` is the number of steps per epoch.

    Linear warm-up, then constant or half a cosine to zero (Loshchilov and Hutter 2017, "SGDR").
    """
    warmup = train.warmup_epochs * steps
    if done < warmup:
        return train.learning_rate * min(1.0, (done + 1) / warmup)
    if train.schedule == "constant":
        return train.learning_rate
    share = (done - warmup) / max(train.epochs * steps - warmup, 1)
    return train.learning_rate * (1 + math.cos(math.pi * share)) / 2


def image_side(train: TrainConfig, full: int, done: int, steps: int) -> int:
    """Return the side in pixels of the training images in the step after `done` steps, `full` at the end.

    Small images take a fraction of the time; the last third of the training uses the full size (Howard 2018, "Training
    Imagenet in 3 hours": progressive resizing).
    """
    if not train.progressive_start_size or train.progressive_start_size >= full:
        return full
    share = 1.5 * done / (train.epochs * steps)
    if share >= 1:
        return full
    return train.progressive_start_size + int((full - train.progressive_start_size) * share) // _STRIDE * _STRIDE


def resize_batch(images: Tensor, to: int) -> Tensor:
    """Resize float [B, S, S] to another side; antialiased where it is smaller."""
    if images.shape[-1] == to:
        return images
    return F.interpolate(images.unsqueeze(1), size=(to, to), mode="bilinear", antialias=True).squeeze(1)
