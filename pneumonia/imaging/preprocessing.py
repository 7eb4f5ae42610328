"""Preprocess grey pixels: resize, and equalise the histogram."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumonia.imaging.refusal import Refusal


def equalize(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Equalise the histogram onto 0..255: each grey level is replaced by its share of darker pixels.

    The formula is the usual one, round(255 (c - c0) / (n - c0)) with the cumulative histogram c and its first
    non-zero value c0 (Gonzalez and Woods, Digital Image Processing, 3.3.1; OpenCV's equalizeHist).
    """
    cumulative = np.cumsum(np.bincount(pixels.ravel(), minlength=256))
    lowest = cumulative[pixels.min()]
    table = np.rint((cumulative - lowest) * 255.0 / max(pixels.size - lowest, 1)).clip(0, 255).astype(np.uint8)
    return np.asarray(table[pixels])


def resize(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Resize a grey image to uint8 [size, size], antialiased bilinear; refuse one of a single grey level."""
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.array(image)
    if pixels.min() == pixels.max():
        raise Refusal("shows a single grey level", "export the image again; this one is blank", "blank")
    return pixels
