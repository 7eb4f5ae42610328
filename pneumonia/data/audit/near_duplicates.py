"""Find near-duplicates: pairs of images whose equalised thumbnails are nearly the same.

All pairs are compared (5e9 of 100,000 images) by products of blocks of thumbnails. Memory holds the thumbnails, 4 KiB
an image, and one block of products; the pixels are read block by block, and their pages are given back.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumonia.imaging.preprocessing import equalize

SIDE = 32
_ROWS, _COLUMNS = 1024, 4096  # of a block of products, 16 MiB
_READ = 512  # images that are read at a time


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows, ``first`` < ``second``.

    Attributes:
        first: int64 [n].
        second: int64 [n].
        correlation: float32 [n].
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    correlation: NDArray[np.float32]


def near_pairs(pixels: NDArray[np.uint8], threshold: float) -> Iterator[Pairs]:
    """Find all pairs of images whose thumbnails correlate by at least ``threshold``.

    Every image is histogram-equalised and reduced to 32x32 by the mean of its areas, so that another exposure, size or
    compression of the same image still matches; an image that was cropped by more than 1 % a side, rotated or mirrored
    does not.

    Args:
        pixels: uint8 [N, size, size], size at least 32.
        threshold: Pearson's correlation, above 0.

    Yields:
        The pairs by blocks, of which there is no empty one: many copies of one image are too many pairs to hold.
    """
    rows = _thumbnails(pixels)
    least = np.float32(threshold - 1e-5)  # an image's correlation with its copy is a rounding error below 1
    for at in range(0, len(rows), _ROWS):
        for to in range(at, len(rows), _COLUMNS):
            correlation = rows[at : at + _ROWS] @ rows[to : to + _COLUMNS].T
            if correlation.max() < least:  # cheaper than a mask of the block, and nearly always so without the diagonal
                continue
            first, second = np.nonzero(correlation >= least)
            values = np.minimum(correlation[first, second], 1)
            first, second = first + at, second + to
            above = second > first  # a block on the diagonal holds each pair twice, and each image with itself
            if above.any():
                yield Pairs(first[above], second[above], values[above])


def near_any(candidates: NDArray[np.uint8], others: NDArray[np.uint8], threshold: float) -> NDArray[np.bool_]:
    """Find which candidates are near-duplicates of an image among others, or of a candidate before that is none.

    Args:
        candidates: uint8 [M, size, size], as for `near_pairs`.
        others: uint8 [N, size, size].
        threshold: Pearson's correlation, above 0.

    Returns:
        bool [M].
    """
    rows, least = _thumbnails(candidates), np.float32(threshold - 1e-5)
    near = np.zeros(len(rows), np.bool_)
    for start in range(0, len(others), _COLUMNS):
        known = _thumbnails(others[start : start + _COLUMNS])
        for at in range(0, len(rows), _ROWS):
            near[at : at + _ROWS] |= (rows[at : at + _ROWS] @ known.T >= least).any(axis=1)
    for row in np.flatnonzero(~near):  # in order, so that of a pair the first stays
        before = np.flatnonzero(~near[:row])
        near[row] = bool((rows[before] @ rows[row] >= least).any())
    return near


def _thumbnails(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return float32 [N, 1024], each row of mean 0 and length 1, so that the product of two is their correlation."""
    areas = _areas(pixels.shape[1])
    rows = np.empty((len(pixels), SIDE * SIDE), np.float32)
    for at in range(0, len(pixels), _READ):
        block = rows[at : at + _READ]
        for row, image in zip(block, pixels[at : at + _READ], strict=True):
            row[:] = (areas @ equalize(image).astype(np.float32) @ areas.T).ravel()
        block -= block.mean(axis=1, keepdims=True)
        block /= np.maximum(np.linalg.norm(block, axis=1, keepdims=True), 1e-6)
        _give_back(pixels)
    return rows


def _give_back(pixels: NDArray[np.uint8]) -> None:
    """Release the pages of a memory map that have been read: they stay in the system's cache, not in this process."""
    if isinstance(pixels.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        pixels.base.madvise(mmap.MADV_DONTNEED)


def _areas(size: int) -> NDArray[np.float32]:
    """Return the matrix [32, size] that averages a line of pixels over 32 equal intervals."""
    edges = np.linspace(0, size, SIDE + 1)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights: NDArray[np.float32] = (np.clip(overlap, 0, None) * (SIDE / size)).astype(np.float32)
    return weights
