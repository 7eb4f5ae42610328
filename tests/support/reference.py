"""The textbook's ResNet18: torchvision's own, on three standardised channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pneumonia.modelling._torchvision import models
from pneumonia.modelling.architectures.resnet18 import IMAGENET_MEAN, IMAGENET_STD


def torchvision_resnet18(network: nn.Module) -> nn.Module:
    """Return torchvision's network with the weights of ours, in the same mode and type."""
    other: nn.Module = models().resnet18(weights=None, num_classes=2)
    other.to(next(network.parameters()).dtype)
    other.load_state_dict(network.state_dict())
    return other.train(network.training)


def three_channels(images: Tensor) -> Tensor:
    """Return float [B, 3, H, W], standardised as torchvision does, of grey images float [B, H, W] in 0..1."""
    mean, deviation = (torch.tensor(values)[:, None, None].to(images) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (images.unsqueeze(1) - mean) / deviation
