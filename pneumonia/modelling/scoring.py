"""Score packed images: the forward pass of validation, testing and prediction."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pneumonia.modelling.device import CPU, Compute, kept_memory
from pneumonia.timing import timed

BATCH, CUDA_BATCH = 16, 256
"""Images at a time: of a CPU, whose caches hold more of a small batch, and of a GPU. Scores do not depend on it."""


@timed("scoring")
def predict_probabilities(
    network: nn.Module, pixels: NDArray[np.uint8], rows: NDArray[np.int64], compute: Compute = CPU
) -> NDArray[np.float64]:
    """Score images.

    Args:
        network: two outputs; afterwards on the device and in evaluation mode.
        pixels: uint8 [N, S, S].
        rows: int64 [n] into `pixels`.
        compute: device, precision, threads.

    Returns:
        float64 [n], the probability of PNEUMONIA.
    """
    network = network.to(compute.device).eval()
    scores = []
    batch = CUDA_BATCH if compute.device.type == "cuda" else BATCH
    with compute.limited(), kept_memory(), torch.inference_mode():
        for start in range(0, len(rows), batch):
            images = compute.images(pixels[rows[start : start + batch]])
            with compute.autocast():
                logits = network(images)
            scores.append(logits.double().softmax(1)[:, 1].cpu().numpy())
    return np.concatenate(scores) if scores else np.empty(0)
