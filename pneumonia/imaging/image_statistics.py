"""Measure one image: file, grey levels, frame, corners, sharpness.

The shortcut audit, the input check and monitoring share these measures. They are taken before any equalisation, at the
size of the network's input, and each responds to one property only: the grey levels are measured inside the frame, and
frame and corners are compared with the adjacent pixels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

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


def measure(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Measure an image's pixels.

    Args:
        pixels: uint8 [S, S], not equalised.

    Returns:
        float32 [COUNT], in the order of `PIXEL_MEASURES` and then of `QUANTILES`. Mean and spread as logarithms of a
        share of full scale; frame and corners in standard deviations of the image; sharpness as logarithms of ratios.
    """
    inner = _scaled(pixels)
    mean, spread = float(inner.mean()), max(float(inner.std()), 1e-3)
    quantiles = _quantiles(_inside(pixels), QUANTILES)
    levels = [np.log(max(mean, 1e-3)), np.log(spread), quantiles[-1]]
    found = [*levels, *_frame(pixels, spread), *_corners(pixels, spread), *_detail(inner, spread), *quantiles]
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
    """Measure mean, spread and fine detail alone, as `measure` does, in a fifth of its time: float32 [3]."""
    inner = _scaled(pixels)
    spread = max(float(inner.std()), 1e-3)
    one = max(float(np.abs(np.diff(inner, axis=1)).mean()), 1e-6)
    return np.array([np.log(max(float(inner.mean()), 1e-3)), np.log(spread), np.log(one / spread)], np.float32)


def _inside(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the part of an image within the frame."""
    edge = round(len(pixels) * CORNER[0])
    return pixels[edge : len(pixels) - edge, edge : len(pixels) - edge]


def _scaled(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the part of an image within the frame as a share of full scale."""
    return np.multiply(_inside(pixels), np.float32(1 / 255), dtype=np.float32)


def _quantiles(pixels: NDArray[np.uint8], shares: Sequence[float]) -> list[float]:
    """Return quantiles as shares of full scale, as `numpy.quantile` does, from the histogram."""
    below = np.cumsum(np.bincount(pixels.ravel(), minlength=_LEVELS))
    places = np.asarray(shares) * (pixels.size - 1)
    first = np.floor(places)
    low = np.searchsorted(below, first, side="right")
    high = np.searchsorted(below, np.minimum(first + 1, pixels.size - 1), side="right")
    return [float(value) for value in (low + (places - first) * (high - low)) / (_LEVELS - 1)]


def _frame(pixels: NDArray[np.uint8], spread: float) -> list[float]:
    """Return the steps between the outermost strips and the next but one, and the spread of the outermost strips.

    Medians and quartiles, which a mark in the strip hardly changes.
    """
    width = max(1, round(len(pixels) * FRAME))
    turned = (pixels.T, pixels.T[::-1], pixels, pixels[::-1])
    outer = [_quantiles(side[:width], (0.25, 0.5, 0.75)) for side in turned]
    inner = [_quantiles(side[2 * width : 3 * width], (0.5,))[0] for side in turned]
    steps = [(found[1] - beside) / spread for found, beside in zip(outer, inner, strict=True)]
    return [*steps, *((found[2] - found[0]) / spread for found in outer)]


def _corners(pixels: NDArray[np.uint8], spread: float) -> list[float]:
    """Return how much brighter the bright part of each corner is than the rest of the corner."""
    first, last = (round(len(pixels) * share) for share in CORNER)
    near, far = slice(first, last), slice(len(pixels) - last, len(pixels) - first)
    boxes = pixels[near, near], pixels[near, far], pixels[far, near], pixels[far, far]
    quantiles = [_quantiles(box, (0.75, 0.95)) for box in boxes]
    return [(high - low) / spread for low, high in quantiles]


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
