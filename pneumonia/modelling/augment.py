"""Augment batches of images at random, on the training device.

One affine resampling does flip, rotation, scale, aspect and shift together; every image of a batch has its own random
parameters.
"""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from pneumonia.config.schema import AugmentConfig
from pneumonia.modelling.device import copied

_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
_COSINES = [
    [math.sqrt((1 if row == 0 else 2) / 8) * math.cos((2 * at + 1) * row * math.pi / 16) for at in range(8)]
    for row in range(8)
]


def augment(images: Tensor, config: AugmentConfig, generator: Generator) -> Tensor:
    """Augment a batch at random.

    Args:
        images: float [B, H, W] in 0..1.
        config: the largest extent of each change; with all of them off the images are returned unchanged.
        generator: a CPU generator. What it draws for each image is the same on every device; a GPU draws the noise of
            the pixels itself, from a seed that this generator gives it, because a CPU needs longer for that than the
            GPU for the whole step.

    Returns:
        float [B, H, W] in 0..1.
    """
    changed = _geometry(images, config, generator)
    if config.contrast or config.brightness:
        changed = _levels(changed, config, generator)
    if config.gamma:
        # at 0 the gradient is infinite for a gamma below one
        changed = changed.clamp(1e-4, 1).pow_(1 + _spread(images, config.gamma, generator))
    if config.blur:
        changed = _blur(changed, config.blur, generator)
    if config.jpeg < 100:
        changed = compress(changed, config.jpeg + _uniform(images, generator) * (100 - config.jpeg))
    if config.noise:
        deviation = _uniform(images, generator).mul_(config.noise)
        changed = torch.addcmul(changed, _normal(images, generator), deviation).clamp_(0, 1)
    return changed


def _uniform(images: Tensor, generator: Generator) -> Tensor:
    """Draw a number in 0..1 for each image, [B, 1, 1]; on the CPU, so that all devices use the same numbers."""
    return copied(torch.rand(len(images), 1, 1, generator=generator), images.device).to(images.dtype)


def _normal(images: Tensor, generator: Generator) -> Tensor:
    """Draw a standard normal number for each pixel, on the images' device."""
    if images.device.type == "cpu":
        return torch.randn(images.shape, generator=generator).to(images)
    seed = int(torch.randint(2**62, (), generator=generator))
    own = torch.Generator(images.device).manual_seed(seed)
    return torch.randn(images.shape, generator=own, device=images.device, dtype=images.dtype)


@cache
def _constants(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return luminance table and cosines, [8, 8] each; once a device, since each copy to a GPU is waited for."""
    luminance, cosines = (torch.tensor(table, dtype=dtype).to(device) for table in (_LUMINANCE, _COSINES))
    return luminance, cosines


def _spread(images: Tensor, extent: float, generator: Generator) -> Tensor:
    return _uniform(images, generator).mul_(2).sub_(1).mul_(extent)


def _geometry(images: Tensor, config: AugmentConfig, generator: Generator) -> Tensor:
    if not any((config.flip, config.rotation, config.scale, config.aspect, config.shift)):
        return images
    flip = torch.where(_uniform(images, generator) < config.flip, -1.0, 1.0)
    angle = _spread(images, config.rotation * math.pi / 180, generator)
    # logarithmic, so that enlargement and reduction are equally likely
    scale = _spread(images, math.log1p(config.scale), generator).exp()
    aspect = _spread(images, math.log1p(config.aspect) / 2, generator).exp()
    right = _spread(images, 2 * config.shift, generator)
    down = _spread(images, 2 * config.shift, generator)
    return warp(images, flip, angle, (scale * aspect, scale / aspect), (right, down))


def warp(
    images: Tensor, flip: Tensor, angle: Tensor, extent: tuple[Tensor, Tensor], shift: tuple[Tensor, Tensor]
) -> Tensor:
    """Resample each image from a rotated, scaled and shifted frame; outside the image it is black.

    Args:
        images: float [B, H, W].
        flip: -1 mirrors left and right, 1 does not; this and the following arguments are [B, 1, 1].
        angle: clockwise rotation of the frame, radians; the content rotates counterclockwise.
        extent: width and height of the frame, relative to the image.
        shift: of the frame, rightward and downward, in half sides.

    Returns:
        float [B, H, W].
    """
    cosine, sine = angle.cos(), angle.sin()
    x, y = _centres(images, -1)[None, None, :], _centres(images, -2)[None, :, None]
    # the source of each pixel, as in F.affine_grid, which is slower because it multiplies matrices of two columns
    grid = images.new_empty(*images.shape, 2)
    torch.add(flip * cosine * extent[0] * x, shift[0] - sine * extent[0] * y, out=grid[..., 0])
    torch.add(flip * sine * extent[1] * x, shift[1] + cosine * extent[1] * y, out=grid[..., 1])
    # zeros, as radiographs have a black border: replicated edges would be a texture that no radiograph has
    return F.grid_sample(images.unsqueeze(1), grid, padding_mode="zeros", align_corners=False).squeeze(1)


def _centres(images: Tensor, dimension: int) -> Tensor:
    """Return the centres of the pixels along one side, with the image's edges at -1 and 1."""
    count = images.shape[dimension]
    return torch.arange(1 - count, count, 2).to(images).div_(count)


def compress(images: Tensor, quality: Tensor) -> Tensor:
    """Apply the loss of a JPEG compression to each image: 8x8 cosine transform, quantisation, inverse transform.

    The luminance table and its scaling are those of the reference encoder (ITU-T T.81, annex K.1; libjpeg's
    jpeg_quality_scaling); the format's entropy coding is lossless and left out.

    Args:
        images: float [B, H, W] in 0..1.
        quality: [B, 1, 1], 1 to 100.

    Returns:
        float [B, H, W] in 0..1.
    """
    height, width = images.shape[-2:]
    padded = F.pad(images.unsqueeze(1), (0, -width % 8, 0, -height % 8), mode="replicate").squeeze(1)
    rows, columns = padded.shape[1] // 8, padded.shape[2] // 8
    blocks = padded.mul(255).sub_(128).reshape(-1, rows, 8, columns, 8).transpose(2, 3)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    luminance, cosines = _constants(images.device, images.dtype)
    steps = (luminance * scale / 100).round_().clamp_(1, 255)[:, None, None]
    kept = (cosines @ blocks @ cosines.T).div_(steps).round_().mul_(steps)
    back = (cosines.T @ kept @ cosines).transpose(2, 3).reshape(padded.shape)
    return back[:, :height, :width].add(128).div_(255).clamp_(0, 1)


def _levels(images: Tensor, config: AugmentConfig, generator: Generator) -> Tensor:
    contrast = 1 + _spread(images, config.contrast, generator)
    brightness = 1 + _spread(images, config.brightness, generator)
    mean = images.mean(dim=(1, 2), keepdim=True)
    # ((image - mean) * contrast + mean) * brightness, in one pass
    return torch.addcmul(mean * (1 - contrast) * brightness, images, contrast * brightness).clamp_(0, 1)


def _blur(images: Tensor, largest: float, generator: Generator) -> Tensor:
    """Blur each image with a separable Gaussian of a random sigma between 0 and `largest` pixels."""
    radius = max(1, math.ceil(2 * largest))
    sigma = _uniform(images, generator).mul_(largest).clamp_(min=0.05).reshape(-1, 1)
    offsets = torch.arange(-radius, radius + 1).to(images)
    kernel = torch.softmax(-(offsets**2) / (2 * sigma**2), dim=1)
    # the images become channels of one image: a grouped convolution applies a different kernel to each
    row = F.pad(images.unsqueeze(0), (radius,) * 4, mode="replicate")
    row = F.conv2d(row, kernel[:, None, None, :], groups=len(images))
    return F.conv2d(row, kernel[:, None, :, None], groups=len(images)).squeeze(0)
