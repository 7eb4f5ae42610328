"""Measure one image: grey levels, frame, corners, sharpness.

The shortcut audit, the input check and monitoring share these measures. They are taken before any equalisation, at the
size of the network's input, and each answers to one property and not to the others: the grey levels are those inside
the frame, and frame and corners are compared with what lies beside them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FRAME = 0.04

"""Width of the outermost strip, share of the side; the strip that it is held against lies 4 % further in."""

CORNER = (0.06, 0.2)

"""Where the corner boxes begin and end, share of the side from either edge."""

PICTURE = {
    "brightness": ("mean", "spread", "brightest"),
    "border": ("left", "right", "top", "bottom", "left flatness", "right flatness", "top flatness", "bottom flatness"),
    "mark": ("top left", "top right", "bottom left", "bottom right"),
    "sharpness": ("fine", "finer", "blocks"),
}

"""The measures of the picture, by cue, in the order of `measure`'s numbers."""

COUNT = sum(map(len, PICTURE.values()))


def measure(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Measure a film's picture.

    Args:
        pixels: uint8 [S, S], not equalised.

    Returns:
        float32 [COUNT], in the order of `PICTURE`. Mean and spread as logarithms of a share of full scale; frame and
        corners in standard deviations of the film; sharpness as logarithms of ratios.
    """
    side = len(pixels)
    film = np.multiply(pixels, np.float32(1 / 255), dtype=np.float32)
    edge = round(side * CORNER[0])
    inner = film[edge : side - edge, edge : side - edge]
    mean, spread = float(inner.mean()), max(float(inner.std()), 1e-3)
    levels = [np.log(max(mean, 1e-3)), np.log(spread), float(np.quantile(inner, 0.98))]
    return np.array([*levels, *_frame(film, spread), *_corners(film, spread), *_detail(inner, spread)], np.float32)


def _frame(film: NDArray[np.float32], spread: float) -> list[float]:
    """Steps between the outermost strips and the next but one, and how much the outermost vary; medians, which a mark
    does not move."""
    width = max(1, round(len(film) * FRAME))
    turned = (film.T, film.T[::-1], film, film[::-1])
    outer = [side[:width] for side in turned]
    steps = [
        (float(np.median(strip)) - float(np.median(side[2 * width : 3 * width]))) / spread
        for strip, side in zip(outer, turned, strict=True)
    ]
    quartiles = [np.quantile(strip, (0.25, 0.75)) for strip in outer]
    return [*steps, *(float(high - low) / spread for low, high in quartiles)]


def _corners(film: NDArray[np.float32], spread: float) -> list[float]:
    """How far the bright part of each corner lies above the rest of it."""
    first, last = (round(len(film) * share) for share in CORNER)
    near, far = slice(first, last), slice(len(film) - last, len(film) - first)
    boxes = film[near, near], film[near, far], film[far, near], film[far, far]
    return [float((np.quantile(box, 0.95) - np.quantile(box, 0.75)) / spread) for box in boxes]


def _detail(inner: NDArray[np.float32], spread: float) -> list[float]:
    """Neighbours' differences at one and at two pixels, against the spread; and those across blocks of eight."""
    across = np.abs(np.diff(inner, axis=1))
    two = float(np.abs(inner[:, 2:] - inner[:, :-2]).mean())
    one = max(float(across.mean()), 1e-6)
    columns = across.mean(axis=0)
    return [float(np.log(one / spread)), float(np.log(one / max(two, 1e-6))), _blockiness(columns)]


def _blockiness(columns: NDArray[np.float32]) -> float:
    """The largest excess of every eighth column of differences over the others, whichever column a grid begins at."""
    usual = max(float(np.median(columns)), 1e-6)
    return max(float(np.log(max(float(columns[at::8].mean()), 1e-6) / usual)) for at in range(8))
