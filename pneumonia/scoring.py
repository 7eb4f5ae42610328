"""From packed films to probabilities: the one forward pass of validation, testing and prediction."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pneumonia import model
from pneumonia.hardware import autocast

BATCH = 128  # larger ones are no faster on a CPU and take memory


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
