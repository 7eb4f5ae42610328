"""Find near-duplicates: pairs of images whose equalised thumbnails are nearly the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumonia.imaging.preprocessing import equalize

SIDE = 32
_BLOCK = 512


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows, ``first`` < ``second``, in order.

    Attributes:
        first: int64 [n].
        second: int64 [n].
        correlation: float32 [n].
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    correlation: NDArray[np.float32]


def near_pairs(pixels: NDArray[np.uint8], threshold: float) -> Pairs:
    """Find all pairs of images whose thumbnails correlate by at least ``threshold``.

    Every image is histogram-equalised and reduced to 32x32 by the mean of its areas, so that another exposure, size or
    compression of the same image still matches; an image that was cropped by more than 1 % a side, rotated or mirrored
    does not.

    Args:
        pixels: uint8 [N, size, size], size at least 32.
        threshold: Pearson's correlation, above 0.
    """
    rows = _thumbnails(pixels)
    found = list(_blocks(rows, threshold))
    return Pairs(
        np.concatenate([block[0] for block in found]),
        np.concatenate([block[1] for block in found]),
        np.concatenate([block[2] for block in found]),
    )


def _blocks(
    rows: NDArray[np.float32], threshold: float
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
    for at in range(0, max(len(rows), 1), _BLOCK):
        correlation = rows[at : at + _BLOCK] @ rows[at:].T
        # An image's correlation with its copy is a rounding error below 1.
        first, second = np.nonzero(np.triu(correlation >= threshold - 1e-5, k=1))
        yield first + at, second + at, np.minimum(correlation[first, second], 1)


def _thumbnails(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return float32 [N, 1024], each row of mean 0 and length 1, so that the product of two is their correlation."""
    areas = _areas(pixels.shape[1])
    rows = np.empty((len(pixels), SIDE * SIDE), np.float32)
    for row, image in zip(rows, pixels, strict=True):
        row[:] = (areas @ equalize(image).astype(np.float32) @ areas.T).ravel()
    rows -= rows.mean(axis=1, keepdims=True)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return rows


def _areas(size: int) -> NDArray[np.float32]:
    """Return the matrix [32, size] that averages a line of pixels over 32 equal intervals."""
    edges = np.linspace(0, size, SIDE + 1)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights: NDArray[np.float32] = (np.clip(overlap, 0, None) * (SIDE / size)).astype(np.float32)
    return weights
