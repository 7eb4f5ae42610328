"""Keep a moving average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


class MovingAverage:
    """A network whose weights and batch-norm statistics are the moving average of another's.

    Attributes:
        network: a copy of the followed network with the averaged weights.
    """

    def __init__(self, followed: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(followed)
        self._decay = decay
        self._pairs = list(zip(self.network.state_dict().values(), followed.state_dict().values(), strict=True))

    @torch.no_grad()
    def update(self, done: int) -> None:
        """Update the average with the weights after the step number `done`, counted from 0."""
        # short at first, so that the random start has no influence (Polyak averaging with warm-up, as TensorFlow's EMA)
        decay = min(self._decay, (1 + done) / (10 + done))
        for mean, value in self._pairs:
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)
