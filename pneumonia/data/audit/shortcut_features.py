"""Compute shortcut features: measures of file and pixels, unrelated to the lungs, that a network could learn.

The measures of the pixels are those of `pneumonia.imaging.image_statistics`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pneumonia.data.manifest import Entry
from pneumonia.imaging.image_statistics import FILE_MEASURES, PIXEL_MEASURES, measure_files
from pneumonia.imaging.image_statistics import quantisation as quantisation_of

FEATURES = (*FILE_MEASURES, *PIXEL_MEASURES)


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
    encodings = [entry.encoding for entry in entries]
    files = measure_files(encodings, size, width, height, pixel_measures)
    found: dict[str, NDArray[np.float64]] = {}
    for measures, table in ((FILE_MEASURES, files), (PIXEL_MEASURES, pixel_measures)):
        start = 0
        for feature, names in measures.items():
            found[feature] = table[:, start : start + len(names)].astype(np.float64)
            start += len(names)
    return found


def quantisation(entries: Sequence[Entry]) -> NDArray[np.float64]:
    """Return the mean of each image's luminance quantisation table, float64 [N]; NaN where it is not a JPEG."""
    return quantisation_of([entry.encoding for entry in entries])
