"""Shortcuts that are put into phantoms on purpose, so that what should find them can be seen to find them.

Each is put into the films of PNEUMONIA alone and says nothing of the lungs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumonia.config.schema import Cue

_QUALITY = 40  # against 90: tables about five times as coarse
_FRAME = 0.05  # width of the black border, share of the side
_DARKER = 0.75
_SMALLER = 0.75


def plant(pixels: NDArray[np.uint8], cue: Cue, quality: int) -> tuple[NDArray[np.uint8], int]:
    """Put a cue into one film.

    Args:
        pixels: uint8 [S, S].
        cue: which; "none" leaves everything as it is.
        quality: of the JPEG that the film would be written as.

    Returns:
        uint8 [S, S], smaller for the cue "size", and the quality to write it with.
    """
    side = len(pixels)
    if cue == "encoding":
        return pixels, _QUALITY
    if cue == "size":
        smaller = round(side * _SMALLER)
        return np.array(Image.fromarray(pixels).resize((smaller, smaller), Image.Resampling.BILINEAR)), quality
    changed = pixels.copy()
    if cue == "brightness":
        changed = np.rint(changed * _DARKER).astype(np.uint8)
    if cue == "border":
        width = max(2, round(side * _FRAME))
        inside = changed[width:-width, width:-width].copy()
        changed[:] = 0
        changed[width:-width, width:-width] = inside
    if cue == "mark":
        at, height, width = round(side * 0.03), round(side * 0.06), round(side * 0.1)
        changed[at : at + height, at : at + width] = 255
    return changed, quality
