"""Describe how bright and dark lie in an image: histograms of oriented gradients, cell by cell.

After Dalal and Triggs (2005), "Histograms of Oriented Gradients for Human Detection", on the equalised image, so that
neither contrast nor window changes it. The directions are signed, so that the histograms of the negative, of the mirror
image and of the rotated image are those of the image in another order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumonia.imaging.preprocessing import equalize

SIDE, CELLS, DIRECTIONS = 64, 8, 8
"""Side to which an image is reduced, cells a side, and directions of a full turn."""

LENGTH = CELLS * CELLS * DIRECTIONS

Layout = NDArray[np.float32]

_CELL = SIDE // CELLS
_PLACE = ((np.arange(SIDE)[:, None] // _CELL * CELLS + np.arange(SIDE)[None] // _CELL) * DIRECTIONS).astype(np.int64)


def measure_layout(pixels: NDArray[np.uint8]) -> Layout:
    """Measure an image's layout.

    Args:
        pixels: uint8 [S, S], equalised or not.

    Returns:
        float32 [CELLS, CELLS, DIRECTIONS], square roots of mean gradients as a share of full scale, at least 0.
    """
    reduced = Image.fromarray(equalize(pixels)).resize((SIDE, SIDE), Image.Resampling.BOX)
    image = np.asarray(reduced, dtype=np.float32)
    down, across = np.zeros_like(image), np.zeros_like(image)
    down[1:-1] = image[2:] - image[:-2]
    across[:, 1:-1] = image[:, 2:] - image[:, :-2]
    strength = np.hypot(across, down)
    turn = np.arctan2(down, across) * (DIRECTIONS / (2 * np.pi)) % DIRECTIONS
    first = np.floor(turn).astype(np.int64)
    share = turn - first
    near = np.bincount((_PLACE + first % DIRECTIONS).ravel(), (strength * (1 - share)).ravel(), LENGTH)
    far = np.bincount((_PLACE + (first + 1) % DIRECTIONS).ravel(), (strength * share).ravel(), LENGTH)
    return np.sqrt((near + far) / (255 * _CELL**2)).astype(np.float32).reshape(CELLS, CELLS, DIRECTIONS)


def inverted(layout: Layout) -> Layout:
    """Return the layout of the negative: every gradient points the other way."""
    return np.roll(layout, DIRECTIONS // 2, axis=2)


def mirrored(layout: Layout) -> Layout:
    """Return the layout of the mirror image, left and right exchanged."""
    return layout[:, ::-1][:, :, (DIRECTIONS // 2 - np.arange(DIRECTIONS)) % DIRECTIONS]


def rotated(layout: Layout, quarters: int) -> Layout:
    """Return the layout of the image rotated counterclockwise by quarters of a turn."""
    return np.roll(np.rot90(layout, quarters), -quarters * (DIRECTIONS // 4), axis=2)
