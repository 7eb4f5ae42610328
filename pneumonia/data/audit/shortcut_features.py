"""Compute shortcut features: measures of file and pixels, unrelated to the lungs, that a network could learn.

The measures of the pixels are those of `pneumonia.imaging.image_statistics`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pneumonia.data.manifest import Entry
from pneumonia.imaging.image_statistics import COUNT, PIXEL_MEASURES

FILE_MEASURES = {
    "encoding": ("quantisation", "bytes per pixel and contrast"),
    "size": ("width", "height"),
    "aspect": ("aspect ratio",),
}
"""The measures of the file, by shortcut feature."""
FEATURES = (*FILE_MEASURES, *PIXEL_MEASURES)
_SPREAD, _FINE = 1, COUNT - 3
_QUANTISATION = re.compile(r"q=([0-9.]+)")
_LOSSLESS = 0.0  # for PNG and the like: finer than any JPEG


def feature_table(entries: Sequence[Entry], pixel_measures: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    """Compute all measures of images, by shortcut feature.

    Args:
        entries: of the manifest, [N].
        pixel_measures: [N, COUNT], a row from `measure` for each.

    Returns:
        float64 [N, measures of the feature] for every feature of `FEATURES`.
    """
    width = np.array([entry.width for entry in entries], dtype=np.float64)
    height = np.array([entry.height for entry in entries], dtype=np.float64)
    size = np.array([entry.bytes for entry in entries], dtype=np.float64)
    # in any encoding the bytes fall with the contrast, about as its square root
    contrast = pixel_measures[:, _SPREAD] + pixel_measures[:, _FINE]
    columns = {
        "encoding": [
            np.nan_to_num(quantisation(entries), nan=_LOSSLESS),
            np.log(size / (width * height)) - contrast / 2,
        ],
        "size": [np.log(width), np.log(height)],
        "aspect": [np.log(width / height)],
    }
    found = {feature: np.stack(values, axis=1) for feature, values in columns.items()}
    start = 0
    for feature, names in PIXEL_MEASURES.items():
        found[feature] = pixel_measures[:, start : start + len(names)].astype(np.float64)
        start += len(names)
    return found


def quantisation(entries: Sequence[Entry]) -> NDArray[np.float64]:
    """Return the mean of each image's luminance quantisation table, float64 [N]; NaN where it is not a JPEG."""
    found = (_QUANTISATION.search(entry.encoding) for entry in entries)
    return np.array([float(match[1]) if match else np.nan for match in found])
