"""Recalibrate batch-norm statistics."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

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
