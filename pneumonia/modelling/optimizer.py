"""Build the optimiser and the weights of the loss."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pneumonia.config.schema import TrainConfig


def build_optimizer(network: nn.Module, train: TrainConfig) -> torch.optim.Optimizer:
    """Build Adam or AdamW over all parameters of the network, as one fused operation."""
    # biases and norms have one dimension; their decay reduces accuracy (He et al. 2019, "Bag of Tricks")
    decayed = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    exempt = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": train.weight_decay}, {"params": exempt, "weight_decay": 0.0}]
    kind = torch.optim.AdamW if train.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=train.learning_rate, fused=True)


def class_weights(labels: NDArray[np.int64], train: TrainConfig) -> Tensor:
    """Return the weight of each class in the loss, float32 [2]: inverse to its frequency, with mean 1 over images.

    Args:
        labels: int64 [n] of the training images; both classes must occur.
        train: without ``class_weights`` the weights are ones.
    """
    counts = np.bincount(labels, minlength=2)
    weights = counts.sum() / (2 * counts) if train.class_weights else np.ones(2)
    return torch.tensor(weights, dtype=torch.float32)
