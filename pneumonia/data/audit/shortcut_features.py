"""What a film tells besides its lungs: measures of file and picture that a network could take for the disease.

The measures of the picture are taken before any equalisation, at the size of the network's input, and each is made so
that it answers to one cue and not to the others: the grey levels are those inside the frame, and frame and corners are
held against what lies beside them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pneumonia.data.manifest import Entry
from pneumonia.imaging.image_statistics import COUNT, PICTURE

FILE = {
    "encoding": ("quantisation", "bytes per pixel and contrast"),
    "size": ("width", "height"),
    "aspect": ("aspect ratio",),
}
"""The measures of the file, by cue."""
CUES = (*FILE, *PICTURE)
_SPREAD, _FINE = 1, COUNT - 3
_QUANTISATION = re.compile(r"q=([0-9.]+)")
_LOSSLESS = 0.0  # for PNG and the like: finer than any JPEG


def feature_table(entries: Sequence[Entry], pictures: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    """All measures of films, by cue.

    Args:
        entries: of the manifest, [N].
        pictures: [N, COUNT], a row from `measure` for each.

    Returns:
        float64 [N, measures of the cue] for every cue of `CUES`.
    """
    width = np.array([entry.width for entry in entries], dtype=np.float64)
    height = np.array([entry.height for entry in entries], dtype=np.float64)
    size = np.array([entry.bytes for entry in entries], dtype=np.float64)
    # a film of half the contrast takes fewer bytes in any encoding, about the root of it
    contrast = pictures[:, _SPREAD] + pictures[:, _FINE]
    columns = {
        "encoding": [
            np.nan_to_num(quantisation(entries), nan=_LOSSLESS),
            np.log(size / (width * height)) - contrast / 2,
        ],
        "size": [np.log(width), np.log(height)],
        "aspect": [np.log(width / height)],
    }
    found = {cue: np.stack(values, axis=1) for cue, values in columns.items()}
    start = 0
    for cue, names in PICTURE.items():
        found[cue] = pictures[:, start : start + len(names)].astype(np.float64)
        start += len(names)
    return found


def quantisation(entries: Sequence[Entry]) -> NDArray[np.float64]:
    """Mean of each film's luminance quantisation table, float64 [N]; NaN where it is no JPEG."""
    found = (_QUANTISATION.search(entry.encoding) for entry in entries)
    return np.array([float(match[1]) if match else np.nan for match in found])
