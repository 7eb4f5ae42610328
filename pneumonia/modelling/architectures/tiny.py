"""Build a network of some 50,000 parameters for tests and quick trials; it is fast and classifies poorly."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

WIDTHS = (1, 16, 32, 48, 64)


class Tiny(nn.Module):
    """Four convolutions of stride 2, global average pooling, and one linear layer."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stages = nn.Sequential(*(_stage(narrow, wide) for narrow, wide in pairwise(WIDTHS)))
        self.fc = nn.Linear(WIDTHS[-1], classes)

    def features(self, images: Tensor) -> Tensor:
        """Return the last feature map [B, 64, H/16, W/16] of images float [B, H, W] in 0..1."""
        found: Tensor = self.stages((images.unsqueeze(1) - 0.5) * 4)
        return found

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, classes] of images float [B, H, W] in 0..1."""
        logits: Tensor = self.fc(self.features(images).mean(dim=(2, 3)))
        return logits


def _stage(narrow: int, wide: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(narrow, wide, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(inplace=True)
    )


def build(classes: int) -> nn.Module:
    """Build the network with random weights."""
    return Tiny(classes)
