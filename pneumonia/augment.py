"""Random changes to whole batches of films, on the device that trains.

One affine resampling does flip, rotation, scale, aspect and shift together; each film of a batch draws its own numbers.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from pneumonia.config import AugmentConfig


def augment(images: Tensor, config: AugmentConfig, generator: Generator) -> Tensor:
    """Change a batch at random.

    Args:
        images: float [B, H, W] in 0..1.
        config: the largest extent of each change; all zero returns the images unchanged.
        generator: a CPU generator; the same state gives the same batch on every device.

    Returns:
        float [B, H, W] in 0..1.
    """
    changed = _geometry(images, config, generator)
    if config.contrast or config.brightness:
        mean = changed.mean(dim=(1, 2), keepdim=True)
        contrast = 1 + _spread(images, config.contrast, generator)
        brightness = 1 + _spread(images, config.brightness, generator)
        changed = (changed - mean).mul_(contrast).add_(mean).mul_(brightness).clamp_(0, 1)
    if config.gamma:
        changed = changed.clamp(1e-4, 1).pow(1 + _spread(images, config.gamma, generator))
    if config.blur:
        changed = _blur(changed, config.blur, generator)
    if config.noise:
        deviation = _uniform(images, generator).mul_(config.noise)
        noise = torch.randn(images.shape, generator=generator).to(images)
        changed = (changed + noise.mul_(deviation)).clamp_(0, 1)
    return changed


def _uniform(images: Tensor, generator: Generator) -> Tensor:
    """Draw from 0..1 a film, shaped [B, 1, 1]; on the CPU first, so that devices agree."""
    return torch.rand(len(images), 1, 1, generator=generator).to(images)


def _spread(images: Tensor, extent: float, generator: Generator) -> Tensor:
    return _uniform(images, generator).mul_(2).sub_(1).mul_(extent)


def _geometry(images: Tensor, config: AugmentConfig, generator: Generator) -> Tensor:
    if not any((config.flip, config.rotation, config.scale, config.aspect, config.shift)):
        return images
    flip = torch.where(_uniform(images, generator) < config.flip, -1.0, 1.0).reshape(-1)
    angle = _spread(images, config.rotation * math.pi / 180, generator).reshape(-1)
    # logarithmic, so that enlarging and shrinking are equally likely
    scale = _spread(images, math.log1p(config.scale), generator).exp().reshape(-1)
    aspect = _spread(images, math.log1p(config.aspect) / 2, generator).exp().reshape(-1)
    right = _spread(images, 2 * config.shift, generator).reshape(-1)
    down = _spread(images, 2 * config.shift, generator).reshape(-1)
    cosine, sine = angle.cos(), angle.sin()
    matrix = torch.stack(
        [
            torch.stack([flip * cosine * scale * aspect, -sine * scale * aspect, right], dim=1),
            torch.stack([flip * sine * scale / aspect, cosine * scale / aspect, down], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(matrix, [len(images), 1, *images.shape[1:]], align_corners=False)
    # zeros, as black surrounds a film: edges stretched outward would be a texture that no film has
    return F.grid_sample(images.unsqueeze(1), grid, padding_mode="zeros", align_corners=False).squeeze(1)


def _blur(images: Tensor, largest: float, generator: Generator) -> Tensor:
    """Separable Gaussian blur, each film with a sigma of its own between 0 and `largest` pixels."""
    radius = max(1, math.ceil(2 * largest))
    sigma = _uniform(images, generator).mul_(largest).clamp_(min=0.05).reshape(-1, 1)
    offsets = torch.arange(-radius, radius + 1).to(images)
    kernel = torch.softmax(-(offsets**2) / (2 * sigma**2), dim=1)
    # films as channels of one image: a grouped convolution gives every film its own kernel
    row = images.unsqueeze(0)
    count = len(images)
    row = F.conv2d(row, kernel[:, None, None, :], padding=(0, radius), groups=count)
    return F.conv2d(row, kernel[:, None, :, None], padding=(radius, 0), groups=count).squeeze(0)
