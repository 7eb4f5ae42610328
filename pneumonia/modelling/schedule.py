"""The parts of a training recipe: schedule, growing films, optimiser, class weights, moving average of the weights."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from pneumonia.config.schema import TrainConfig

_STRIDE = 32  # of ResNet18: other sides leave a part of the last feature map empty


def learning_rate(train: TrainConfig, done: int, steps: int) -> float:
    """Return the learning rate of the step after `done` steps, `steps` being those of an epoch.

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
    """Return the side in pixels that films of `full` pixels are trained at in the step after `done` steps.

    Small films show the coarse picture in a fraction of the time; the last third of the training sees them whole
    (Howard 2018, "Training Imagenet in 3 hours": progressive resizing).
    """
    if not train.start_size or train.start_size >= full:
        return full
    grown = 1.5 * done / (train.epochs * steps)
    if grown >= 1:
        return full
    return train.start_size + int((full - train.start_size) * grown) // _STRIDE * _STRIDE


def resize_batch(films: Tensor, to: int) -> Tensor:
    """Return float [B, S, S] at another side, averaged where it is smaller."""
    if films.shape[-1] == to:
        return films
    return F.interpolate(films.unsqueeze(1), size=(to, to), mode="bilinear", antialias=True).squeeze(1)
