"""Recalibrate batch-norm statistics."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pneumonia.modelling.device import autocast
from pneumonia.modelling.network import normalise
from pneumonia.modelling.scoring import BATCH


@torch.no_grad()
def recalibrate_batch_norm(
    network: nn.Module,
    pixels: NDArray[np.uint8],
    indices: NDArray[np.int64],
    *,
    device: torch.device,
    precision: str = "fp32",
) -> None:
    """Take the batch-norm statistics anew from these films, as their plain mean over batches.

    The running ones lag behind weights that move fast: after a few steps they describe a network that is gone
    (Wu and Johnson 2021, "Rethinking Batch in BatchNorm", precise statistics).

    Args:
        network: changed in place, left in training mode.
        pixels: uint8 [N, S, S].
        indices: int64 [n] into `pixels`; a last batch of less than half the size is left out.
        device: where the network is.
        precision: ``fp32`` or ``bf16``.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch then keeps the mean over all batches
    network.train()
    for start in range(0, len(indices), BATCH):
        chosen = indices[start : start + BATCH]
        if start and len(chosen) < BATCH // 2:
            break
        with autocast(device, precision):
            network(normalise(torch.from_numpy(pixels[chosen]).to(device)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
