"""The parts of a training recipe: schedule, growing films, optimiser, class weights, moving average of the weights."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

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


def side(train: TrainConfig, full: int, done: int, steps: int) -> int:
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


def shrink(films: Tensor, to: int) -> Tensor:
    """Return float [B, S, S] at another side, averaged where it is smaller."""
    if films.shape[-1] == to:
        return films
    return F.interpolate(films.unsqueeze(1), size=(to, to), mode="bilinear", antialias=True).squeeze(1)


def optimizer(network: nn.Module, train: TrainConfig) -> torch.optim.Optimizer:
    """Return Adam or AdamW over all parameters of the network, as one fused operation."""
    # biases and norms have one dimension; decaying them only costs accuracy (He et al. 2019, "Bag of Tricks")
    decayed = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    exempt = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": train.weight_decay}, {"params": exempt, "weight_decay": 0.0}]
    kind = torch.optim.AdamW if train.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=train.learning_rate, fused=True)


def class_weights(labels: NDArray[np.int64], train: TrainConfig) -> Tensor:
    """Return the loss's weight of each class, float32 [2]: inverse to its frequency, their mean over films being 1.

    Args:
        labels: int64 [n] of the training films; both classes must occur.
        train: ``class_weights`` off gives ones.
    """
    counts = np.bincount(labels, minlength=2)
    weights = counts.sum() / (2 * counts) if train.class_weights else np.ones(2)
    return torch.tensor(weights, dtype=torch.float32)


class Average:
    """A network whose weights and batch-norm statistics are the moving average of another's.

    Attributes:
        network: of the same form as the one that is followed.
    """

    def __init__(self, followed: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(followed)
        self._decay = decay
        self._pairs = list(zip(self.network.state_dict().values(), followed.state_dict().values(), strict=True))

    @torch.no_grad()
    def update(self, done: int) -> None:
        """Follow the step that came after `done` steps."""
        # short at first, so that the random start is forgotten (Polyak averaging with warm-up, as in TensorFlow's EMA)
        decay = min(self._decay, (1 + done) / (10 + done))
        for mean, value in self._pairs:
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)
