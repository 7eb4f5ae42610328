"""From packed films to probabilities: the one forward pass of validation, testing and prediction."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pneumonia import model
from pneumonia.config.schema import TrainConfig
from pneumonia.hardware import autocast, pick_device, threads

BATCH = 64  # larger ones are no faster on a CPU and take memory


def predict(
    network: nn.Module,
    pixels: NDArray[np.uint8],
    indices: NDArray[np.int64],
    *,
    device: torch.device | None = None,
    precision: str = "fp32",
) -> NDArray[np.float64]:
    """Score films.

    Args:
        network: two outputs; left in evaluation mode.
        pixels: uint8 [N, S, S].
        indices: int64 [n] into `pixels`.
        device: where the network is; the CPU by default.
        precision: ``fp32`` or ``bf16``.

    Returns:
        float64 [n], the probability of PNEUMONIA.
    """
    device = device or torch.device("cpu")
    network.eval()
    scores = []
    with torch.inference_mode():
        for start in range(0, len(indices), BATCH):
            batch = torch.from_numpy(pixels[indices[start : start + BATCH]]).to(device)
            with autocast(device, precision):
                logits = network(model.normalise(batch))
            scores.append(logits.double().softmax(1)[:, 1].cpu().numpy())
    return np.concatenate(scores) if scores else np.empty(0)


def score(
    network: nn.Module, pixels: NDArray[np.uint8], indices: NDArray[np.int64], train: TrainConfig
) -> NDArray[np.float64]:
    """As `predict`, on the device and with the threads of the configuration.

    In float32 whatever the training used: it is what a server computes with.
    """
    device = pick_device(train)
    with threads(train.threads):
        return predict(network.to(device), pixels, indices, device=device)


@torch.no_grad()
def refresh_norms(
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
            network(model.normalise(torch.from_numpy(pixels[chosen]).to(device)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
