"""Measure one image: grey levels, frame, corners, sharpness.

The shortcut audit, the input check and monitoring share these measures. They are taken before any equalisation, at the
size of the network's input, and each responds to one property only: the grey levels are measured inside the frame, and
frame and corners are compared with the adjacent pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FRAME = 0.04

"""Width of the outermost strip, share of the side; the strip that it is compared with lies 4 % further in."""

CORNER = (0.06, 0.2)

"""Start and end of the corner boxes, share of the side from either edge."""

PIXEL_MEASURES = {
    "brightness": ("mean", "spread", "brightest"),
    "border": ("left", "right", "top", "bottom", "left flatness", "right flatness", "top flatness", "bottom flatness"),
    "mark": ("top left", "top right", "bottom left", "bottom right"),
    "sharpness": ("fine", "finer", "blocks"),
}

"""The measures of the pixels, by shortcut feature, in the order of `measure`'s result."""

COUNT = sum(map(len, PIXEL_MEASURES.values()))

EXPOSURE = (0, 1, COUNT - len(PIXEL_MEASURES["sharpness"]))
"""Where the measures of `measure_exposure` lie in the result of `measure`."""


def measure(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Measure an image's pixels.

    Args:
        pixels: uint8 [S, S], not equalised.

    Returns:
        float32 [COUNT], in the order of `PIXEL_MEASURES`. Mean and spread as logarithms of a share of full scale;
        frame and corners in standard deviations of the image; sharpness as logarithms of ratios.
    """
    image, inner = _scaled(pixels)
    mean, spread = float(inner.mean()), max(float(inner.std()), 1e-3)
    levels = [np.log(max(mean, 1e-3)), np.log(spread), float(np.quantile(inner, 0.98))]
    return np.array([*levels, *_frame(image, spread), *_corners(image, spread), *_detail(inner, spread)], np.float32)


def measure_exposure(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Measure mean, spread and fine detail alone, as `measure` does, in a fifth of its time: float32 [3]."""
    inner = _scaled(pixels)[1]
    spread = max(float(inner.std()), 1e-3)
    one = max(float(np.abs(np.diff(inner, axis=1)).mean()), 1e-6)
    return np.array([np.log(max(float(inner.mean()), 1e-3)), np.log(spread), np.log(one / spread)], np.float32)


def _scaled(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return an image as a share of full scale, and the part of it within the frame."""
    side = len(pixels)
    image = np.multiply(pixels, np.float32(1 / 255), dtype=np.float32)
    edge = round(side * CORNER[0])
    return image, image[edge : side - edge, edge : side - edge]


def _frame(image: NDArray[np.float32], spread: float) -> list[float]:
    """Return the steps between the outermost strips and the next but one, and the spread of the outermost strips.

    Medians and quartiles, which a mark in the strip hardly changes.
    """
    width = max(1, round(len(image) * FRAME))
    turned = (image.T, image.T[::-1], image, image[::-1])
    outer = [side[:width] for side in turned]
    steps = [
        (float(np.median(strip)) - float(np.median(side[2 * width : 3 * width]))) / spread
        for strip, side in zip(outer, turned, strict=True)
    ]
    quartiles = [np.quantile(strip, (0.25, 0.75)) for strip in outer]
    return [*steps, *(float(high - low) / spread for low, high in quartiles)]


def _corners(image: NDArray[np.float32], spread: float) -> list[float]:
    """Return how much brighter the bright part of each corner is than the rest of the corner."""
    first, last = (round(len(image) * share) for share in CORNER)
    near, far = slice(first, last), slice(len(image) - last, len(image) - first)
    boxes = image[near, near], image[near, far], image[far, near], image[far, far]
    return [float((np.quantile(box, 0.95) - np.quantile(box, 0.75)) / spread) for box in boxes]


def _detail(inner: NDArray[np.float32], spread: float) -> list[float]:
    """Return the differences of neighbours at one and two pixels, relative to the spread, and the blockiness."""
    across = np.abs(np.diff(inner, axis=1))
    two = float(np.abs(inner[:, 2:] - inner[:, :-2]).mean())
    one = max(float(across.mean()), 1e-6)
    columns = across.mean(axis=0)
    return [float(np.log(one / spread)), float(np.log(one / max(two, 1e-6))), _blockiness(columns)]


def _blockiness(columns: NDArray[np.float32]) -> float:
    """Return the largest excess of every eighth column of differences over the others, over all eight offsets."""
    usual = max(float(np.median(columns)), 1e-6)
    return max(float(np.log(max(float(columns[at::8].mean()), 1e-6) / usual)) for at in range(8))
