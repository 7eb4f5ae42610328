"""Measure one image: file, grey levels, frame, corners, sharpness.

The shortcut audit, the input check and monitoring share these measures. They are taken before any equalisation, at the
size of the network's input, and each responds to one property only: the grey levels are measured inside the frame, and
frame and corners are compared with the adjacent pixels.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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

QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
"""Quantiles of the grey levels inside the frame that follow them in `measure`'s result, as shares of full scale."""

_PIXEL_COUNT = sum(map(len, PIXEL_MEASURES.values()))

COUNT = _PIXEL_COUNT + len(QUANTILES)

EXPOSURE = (0, 1, _PIXEL_COUNT - len(PIXEL_MEASURES["sharpness"]))
"""Where the measures of `measure_exposure` lie in the result of `measure`: mean, spread, fine detail."""

FILE_MEASURES = {
    "encoding": ("quantisation", "bytes per pixel and contrast"),
    "size": ("width", "height"),
    "aspect": ("aspect ratio",),
}

"""The measures of the file, by shortcut feature, in the order of `measure_files`' result."""

STATISTICS = (
    *(name for names in FILE_MEASURES.values() for name in names),
    *(name for names in PIXEL_MEASURES.values() for name in names),
    *(f"grey level quantile {share:g}" for share in QUANTILES),
)
"""Names of the 30 statistics that an event of the service and a model's reference hold of an image: those of
`measure_files`, then those of `measure`."""

EXPOSURE_STATISTICS = tuple(len(STATISTICS) - COUNT + place for place in EXPOSURE)
"""Where the measures of `measure_exposure` lie among `STATISTICS`."""

LOSSLESS = 0.0
"""Quantisation of PNG and the like: finer than any JPEG."""

_QUANTISATION = re.compile(r"q=([0-9.]+)")
_LEVELS = 256
_BLOCK = 8
_VALUES = np.arange(_LEVELS) / (_LEVELS - 1)
_QUARTERS = np.tile([0.25, 0.5, 0.75], (8, 1))
_BRIGHT = np.tile([0.75, 0.95], (4, 1))


def measure(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Measure an image's pixels, in a tenth of a millisecond: the service does it for every answer.

    Args:
        pixels: uint8 [S, S], not equalised.

    Returns:
        float32 [COUNT], in the order of `PIXEL_MEASURES` and then of `QUANTILES`. Mean and spread as logarithms of a
        share of full scale; frame and corners in standard deviations of the image; sharpness as logarithms of ratios.
    """
    inner = _inside(pixels)
    counts = _histogram(inner)
    mean, spread = _moments(counts)
    quantiles = _quantiles(counts, QUANTILES)
    levels = [np.log(max(mean, 1e-3)), np.log(spread), quantiles[-1]]
    found = [*levels, *_edges(pixels, spread), *_detail(inner, spread), *quantiles]
    return np.array(found, np.float32)


def measure_files(
    encodings: Sequence[str],
    sizes: NDArray[np.float64],
    widths: NDArray[np.float64],
    heights: NDArray[np.float64],
    pixel_measures: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Measure the files of images.

    Args:
        encodings: of each, as `pneumonia.imaging.radiograph.Radiograph.encoding`; [n].
        sizes: bytes, [n].
        widths, heights: pixels of the original, [n].
        pixel_measures: [n, COUNT], of `measure`.

    Returns:
        float64 [n, 5], in the order of `FILE_MEASURES`: mean of the luminance quantisation table, and logarithms.
    """
    # in any encoding the bytes fall with the contrast, about as its square root
    contrast = pixel_measures[:, EXPOSURE[1]].astype(np.float64) + pixel_measures[:, EXPOSURE[2]]
    columns = [
        np.nan_to_num(quantisation(encodings), nan=LOSSLESS),
        np.log(np.maximum(sizes, 1) / (widths * heights)) - contrast / 2,
        np.log(widths),
        np.log(heights),
        np.log(widths / heights),
    ]
    return np.stack(columns, axis=1)


def describe_images(
    encodings: Sequence[str],
    sizes: NDArray[np.float64],
    widths: NDArray[np.float64],
    heights: NDArray[np.float64],
    pixel_measures: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return all statistics of images, float32 [n, 30], in the order of `STATISTICS`; see `measure_files`."""
    files = measure_files(encodings, sizes, widths, heights, pixel_measures)
    return np.concatenate([files.astype(np.float32), pixel_measures], axis=1)


def quantisation(encodings: Sequence[str]) -> NDArray[np.float64]:
    """Return the mean of each image's luminance quantisation table, float64 [n]; NaN where it is not a JPEG."""
    found = (_QUANTISATION.search(encoding) for encoding in encodings)
    return np.array([float(match[1]) if match else np.nan for match in found], dtype=np.float64)


def measure_exposure(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Measure mean, spread and fine detail alone, as `measure` does, in less time: float32 [3]."""
    inner = _inside(pixels)
    mean, spread = _moments(_histogram(inner))
    one = max(_differences(inner, 1) / inner[:, 1:].size, 1e-6)
    return np.array([np.log(max(mean, 1e-3)), np.log(spread), np.log(one / spread)], np.float32)


def _inside(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the part of an image within the frame."""
    edge = round(len(pixels) * CORNER[0])
    return pixels[edge : len(pixels) - edge, edge : len(pixels) - edge]


def _histogram(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the grey levels, [256]; by Pillow, in half the time of NumPy."""
    return np.array(Image.fromarray(np.ascontiguousarray(pixels)).histogram(), np.int64)


def _moments(counts: NDArray[np.int64]) -> tuple[float, float]:
    """Return mean and spread as shares of full scale, the spread at least a thousandth."""
    mean = float((counts * _VALUES).sum()) / int(counts.sum())
    variance = float((counts * np.square(_VALUES - mean)).sum()) / int(counts.sum())
    return mean, max(variance**0.5, 1e-3)


def _quantiles(counts: NDArray[np.int64], shares: Sequence[float]) -> list[float]:
    """Return quantiles as shares of full scale, as `numpy.quantile` finds them, from counts of grey levels [256]."""
    found: list[float] = _rows_quantiles(counts.cumsum()[None], np.asarray([shares]))[0].tolist()
    return found


def _rows_quantiles(below: NDArray[np.int64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return quantiles [n, k] from cumulated counts [n, 256] and shares [n, k]."""
    last = below[:, -1:] - 1
    places = shares * last
    first = np.floor(places)
    # the rows one behind the other, so that one search finds all
    row = np.arange(len(below))[:, None]
    ahead = row * (int(last.max()) + 2)
    wanted = np.concatenate([first + ahead, np.minimum(first + 1, last) + ahead], axis=1)
    found = np.searchsorted((below + ahead).ravel(), wanted.ravel(), side="right").reshape(wanted.shape) - row * _LEVELS
    low, high = found[:, : shares.shape[1]], found[:, shares.shape[1] :]
    return np.asarray((low + (places - first) * (high - low)) / (_LEVELS - 1), dtype=np.float64)


@functools.cache
def _places(side: int) -> tuple[list[tuple[slice, slice]], NDArray[np.intp]]:
    """Return the outermost strips, the next but one, and the corner boxes of an image, and where each one's counts go.

    Strips: left, right, top, bottom, as `PIXEL_MEASURES` names them; corners likewise.
    """
    width, whole = max(1, round(side * FRAME)), slice(None)
    starts = (slice(0, width), slice(side - width, side))
    inner = (slice(2 * width, 3 * width), slice(side - 3 * width, side - 2 * width))
    first, last = (round(side * share) for share in CORNER)
    near, far = slice(first, last), slice(side - last, side - first)
    boxes = [(near, near), (near, far), (far, near), (far, far)]
    found = [
        place
        for strips in (starts, inner)
        for place in (*((whole, at) for at in strips), *((at, whole) for at in strips))
    ]
    sizes = [width * side] * 8 + [(last - first) ** 2] * 4
    return [*found, *boxes], np.repeat(np.arange(12) * _LEVELS, sizes)


def _edges(pixels: NDArray[np.uint8], spread: float) -> list[float]:
    """Return the frame's and the corners' measures.

    Of the frame: the steps between the outermost strips and the next but one, and the spread of the outermost strips;
    medians and quartiles, which a mark in the strip hardly changes. Of each corner, how much brighter its bright part
    is than the rest.
    """
    places, offsets = _places(len(pixels))
    values = np.concatenate([pixels[place].ravel() for place in places]).astype(np.intp)
    counts = np.bincount(values + offsets, minlength=12 * _LEVELS).reshape(12, _LEVELS).cumsum(axis=1)
    frame = _rows_quantiles(counts[:8], _QUARTERS)
    corners = _rows_quantiles(counts[8:], _BRIGHT)
    steps, flatness = frame[:4, 1] - frame[4:, 1], frame[:4, 2] - frame[:4, 0]
    found: list[float] = (np.concatenate([steps, flatness, corners[:, 1] - corners[:, 0]]) / spread).tolist()
    return found


def _detail(inner: NDArray[np.uint8], spread: float) -> list[float]:
    """Return the differences of neighbours at one and two pixels, relative to the spread, and the blockiness."""
    across = _column_differences(inner, 1)
    two = _differences(inner, 2) / inner[:, 2:].size
    one = max(float(across.mean()), 1e-6)
    return [float(np.log(one / spread)), float(np.log(one / max(two, 1e-6))), _blockiness(across)]


def _column_differences(inner: NDArray[np.uint8], apart: int) -> NDArray[np.float64]:
    """Return the mean difference of pixels some columns apart, as a share of full scale, by column."""
    one, other = inner[:, apart:], inner[:, :-apart]
    difference = np.maximum(one, other) - np.minimum(one, other)  # in 8 bits, which do not overflow
    return np.asarray(difference.sum(axis=0, dtype=np.uint32) / (len(inner) * (_LEVELS - 1)), dtype=np.float64)


def _differences(inner: NDArray[np.uint8], apart: int) -> float:
    """Return the sum of the differences of pixels some columns apart, as shares of full scale."""
    return float(_column_differences(inner, apart).sum()) * len(inner)


def _blockiness(columns: NDArray[np.float64]) -> float:
    """Return the largest excess of every eighth column of differences over the others, over all eight offsets."""
    usual = max(float(np.median(columns)), 1e-6)
    offset = np.arange(len(columns)) % _BLOCK
    means = np.bincount(offset, columns, _BLOCK) / np.bincount(offset, minlength=_BLOCK)
    return float(np.log(max(float(means.max()), 1e-6) / usual))
