"""Build torchvision's ResNet18 for grey images."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pneumonia.errors import ConfigError
from pneumonia.modelling._torchvision import models

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # torchvision's reference statistics of ImageNet, RGB in 0..1
IMAGENET_STD = (0.229, 0.224, 0.225)
_ResNet: Any = models().ResNet


class GreyResNet(_ResNet):  # type: ignore[misc]
    """Torchvision's ResNet for grey images, with the same parameters and parameter names.

    It computes, up to rounding, what the original computes from three equal channels after ImageNet's standardisation,
    in less time: the standardised channels of a grey image are linear functions of one standardised channel and of a
    constant, which is a separate channel because the convolution pads with zeros after the standardisation. Two input
    channels therefore replace three. Max-pooling and ReLU commute, in their gradients too, and after the pooling there
    are four times fewer values to rectify.
    """

    def __init__(self, classes: int) -> None:
        super().__init__(models().resnet.BasicBlock, [2, 2, 2, 2], num_classes=classes)
        # not persistent: a weights file holds exactly the entries of torchvision's own network
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN), persistent=False)
        self.register_buffer("deviation", torch.tensor(IMAGENET_STD), persistent=False)

    def features(self, images: Tensor) -> Tensor:
        """Return the last feature map [B, 512, H/32, W/32] of images float [B, H, W] in 0..1."""
        weight = self.conv1.weight / self.deviation[:, None, None]
        centre, spread = self.mean.mean(), self.deviation.mean()
        channels = [weight.sum(1) * spread, (weight * (centre - self.mean)[:, None, None]).sum(1)]
        grey = (images - centre) / spread
        # [B, H, W, 2], so that the permuted view is channels-last without a copy
        pair = torch.stack((grey, torch.ones_like(grey)), dim=-1).permute(0, 3, 1, 2)
        values = F.conv2d(pair, torch.stack(channels, 1), stride=2, padding=3)
        values = self.relu(self.maxpool(self.bn1(values)))
        found: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(values))))
        return found

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, classes] of images float [B, H, W] in 0..1."""
        logits: Tensor = self.fc(self.avgpool(self.features(images)).flatten(1))
        return logits


def build(classes: int) -> nn.Module:
    """Build the network with random weights."""
    return GreyResNet(classes)


def imagenet_state() -> dict[str, Tensor]:
    """Return the ImageNet weights (IMAGENET1K_V1), downloaded once.

    Raises:
        ConfigError: they cannot be downloaded.
    """
    weights = models().ResNet18_Weights.IMAGENET1K_V1
    try:
        state: dict[str, Tensor] = weights.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network connection, or a download that does not match its hash
        raise ConfigError(f"model.weights=imagenet: {weights.url} cannot be downloaded ({error})") from None
    return state
