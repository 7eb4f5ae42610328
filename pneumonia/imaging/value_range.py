"""Count the values of an image, find the range to be shown where a file does not name one, and map values to others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

OUTLIERS = 0.01
"""Share of the pixels at either end of the histogram that may lie outside the range that is shown."""

BEYOND = 0.5
"""How far outside the range of the other pixels a value is an outlier, as a share of that range."""


_PIECE = 2**20  # values that are counted or looked up at a time: NumPy makes numbers of 8 bytes of them


def count_values(samples: NDArray[np.unsignedinteger[Any]]) -> NDArray[np.int64]:
    """Count how many of an image's samples, uint8 or uint16, have each of the 256 or 65,536 values."""
    counts = np.zeros(1 << (8 * samples.itemsize), dtype=np.int64)
    flat = samples.reshape(-1)
    for start in range(0, len(flat), _PIECE):
        counts += np.bincount(flat[start : start + _PIECE], minlength=len(counts))
    return counts


def look_up(table: NDArray[np.uint8], samples: NDArray[np.unsignedinteger[Any]]) -> NDArray[np.uint8]:
    """Return the entry of a table for each of an image's samples."""
    shown = np.empty(samples.shape, dtype=np.uint8)
    flat, out = samples.reshape(-1), shown.reshape(-1)
    for start in range(0, len(flat), _PIECE):
        out[start : start + _PIECE] = table[flat[start : start + _PIECE]]
    return shown


def robust_range(values: NDArray[np.float64], counts: NDArray[np.int64], notes: list[str]) -> tuple[float, float]:
    """Return the lowest and highest value of an image's pixels, without outliers.

    At most `OUTLIERS` of the pixels at either end are left out, and only those that lie further than `BEYOND` times
    the range of the rest away from it: one defective pixel, or a label burnt in, would make the image black.

    Args:
        values: every value that a pixel can have, in any order.
        counts: how many pixels have each.
        notes: gets a sentence where pixels are left out.
    """
    order = np.argsort(values, kind="stable")
    order = order[counts[order] > 0]
    present, cumulative = values[order], np.cumsum(counts[order])
    first, last = (np.searchsorted(cumulative, share * cumulative[-1]) for share in (OUTLIERS, 1 - OUTLIERS))
    low, high = present[first], present[min(int(last), len(present) - 1)]
    margin = BEYOND * (high - low)
    kept = (present >= low - margin) & (present <= high + margin) if margin > 0 else np.ones(len(present), dtype=bool)
    dropped = int(counts[order][~kept].sum())
    if dropped:
        notes.append(
            f"it names no range, and some pixels ({dropped:,}) lie far outside that of the others, which is shown"
        )
    return float(present[kept].min()), float(present[kept].max())
