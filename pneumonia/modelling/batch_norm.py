"""Recalibrate batch-norm statistics, or step them by statistics of micro-batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pneumonia.modelling.device import CPU, Compute
from pneumonia.timing import timed

BATCH = 64
"""Images that one variance is computed from."""


@timed("batch-norm statistics")
@torch.no_grad()
def recalibrate_batch_norm(
    network: nn.Module, pixels: NDArray[np.uint8], rows: NDArray[np.int64], compute: Compute = CPU
) -> None:
    """Replace the batch-norm statistics by their mean over batches of these images.

    Running statistics lag behind fast-changing weights: after a few steps they are those of an earlier network (Wu and
    Johnson 2021, "Rethinking Batch in BatchNorm", precise statistics).

    Args:
        network: changed in place, left in training mode.
        pixels: uint8 [N, S, S].
        rows: int64 [n] into `pixels`; a last batch of less than half the size is left out.
        compute: device and precision; the network must be on this device.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch then computes the mean over all batches
    network.train()
    for start in range(0, len(rows), BATCH):
        chosen = rows[start : start + BATCH]
        if start and len(chosen) < BATCH // 2:
            break
        with compute.autocast():
            network(compute.images(pixels[chosen]))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


class BatchStatistics:
    """The running statistics of a network's batch norms, as one tensor.

    Attributes:
        count: how many numbers they are.
    """

    def __init__(self, network: nn.Module) -> None:
        self._norms: list[Any] = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        self._buffers = [buffer for norm in self._norms for buffer in (norm.running_mean, norm.running_var)]
        self._none = next(network.parameters()).detach().new_empty(0)  # torch joins no empty list
        self._momenta = [norm.momentum for norm in self._norms]
        self.count = sum(buffer.numel() for buffer in self._buffers)

    def read(self) -> Tensor:
        """Return means and variances of all norms, float32 [count]."""
        return torch.cat([self._none, *self._buffers])

    @contextmanager
    def of_one_batch(self) -> Iterator[None]:
        """Let each forward pass inside the context leave the statistics of its batch alone; they count as one batch."""
        counts = [norm.num_batches_tracked + 1 for norm in self._norms]
        for norm in self._norms:
            norm.momentum = 1.0
        try:
            yield
        finally:
            for norm, momentum, count in zip(self._norms, self._momenta, counts, strict=True):
                norm.momentum = momentum
                norm.num_batches_tracked.copy_(count)  # in place, since a moving average follows this tensor

    @torch.no_grad()
    def step(self, before: Tensor, batch: Tensor) -> None:
        """Set the statistics to those before, moved towards a batch's by each norm's momentum.

        Args:
            before: float32 [count], from `read`.
            batch: float32 [count], mean and variance of the batch.
        """
        start = 0
        for norm, momentum in zip(self._norms, self._momenta, strict=True):
            for buffer in (norm.running_mean, norm.running_var):
                part = slice(start, start + buffer.numel())
                buffer.copy_(torch.lerp(before[part], batch[part], momentum))
                start = part.stop
