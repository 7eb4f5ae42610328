"""From packed films to probabilities: the one forward pass of validation, testing and prediction."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pneumonia.config.schema import TrainConfig
from pneumonia.modelling.device import autocast, cpu_threads, pick_device
from pneumonia.modelling.network import normalise

BATCH = 64  # larger ones are no faster on a CPU and take memory


def predict_probabilities(
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
                logits = network(normalise(batch))
            scores.append(logits.double().softmax(1)[:, 1].cpu().numpy())
    return np.concatenate(scores) if scores else np.empty(0)


def score_images(
    network: nn.Module, pixels: NDArray[np.uint8], indices: NDArray[np.int64], train: TrainConfig
) -> NDArray[np.float64]:
    """As `predict`, on the device and with the threads of the configuration.

    In float32 whatever the training used: it is what a server computes with.
    """
    device = pick_device(train)
    with cpu_threads(train.threads):
        return predict_probabilities(network.to(device), pixels, indices, device=device)
