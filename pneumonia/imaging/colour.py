"""Measure whether a picture is in colour, in which no radiograph is made."""

from __future__ import annotations

import numpy as np
from PIL import Image

SAMPLES = 64
"""Pixels a side that are looked at."""

COLOUR = 24
"""Grey levels by which the channels of a coloured pixel differ at least; JPEG makes smaller differences."""


def coloured_share(image: Image.Image) -> float:
    """Return the share of an image's pixels that are coloured, 0 to 1, from a grid of `SAMPLES` x `SAMPLES` of them.

    Args:
        image: in any mode; transparency is not looked at.
    """
    small = image.resize((min(SAMPLES, image.width), min(SAMPLES, image.height)), Image.Resampling.NEAREST)
    if small.mode == "P":
        small = small.convert("RGBA")  # Pillow warns where a palette's transparency is lost
    channels = np.asarray(small.convert("RGB"))
    return float((channels.max(axis=2) - channels.min(axis=2) >= COLOUR).mean())
