"""Plant shortcuts into phantoms, to test that the shortcut audit and the gate detect them.

Each is planted into the images of PNEUMONIA only, and is unrelated to the lungs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumonia.config.schema import Shortcut

_QUALITY = 40  # against 90: tables about five times as coarse
_FRAME = 0.05  # width of the black border, share of the side
_DARKER = 0.75
_SMALLER = 0.75


def plant(pixels: NDArray[np.uint8], shortcut: Shortcut, quality: int) -> tuple[NDArray[np.uint8], int]:
    """Plant a shortcut into one image.

    Args:
        pixels: uint8 [S, S].
        shortcut: its kind; "none" changes nothing.
        quality: JPEG quality that the image would be written with.

    Returns:
        uint8 [S, S], smaller for the shortcut "size", and the JPEG quality to write it with.
    """
    side = len(pixels)
    if shortcut == "encoding":
        return pixels, _QUALITY
    if shortcut == "size":
        smaller = round(side * _SMALLER)
        return np.array(Image.fromarray(pixels).resize((smaller, smaller), Image.Resampling.BILINEAR)), quality
    changed = pixels.copy()
    if shortcut == "brightness":
        changed = np.rint(changed * _DARKER).astype(np.uint8)
    if shortcut == "border":
        width = max(2, round(side * _FRAME))
        inside = changed[width:-width, width:-width].copy()
        changed[:] = 0
        changed[width:-width, width:-width] = inside
    if shortcut == "mark":
        at, height, width = round(side * 0.03), round(side * 0.06), round(side * 0.1)
        changed[at : at + height, at : at + width] = 255
    return changed, quality
