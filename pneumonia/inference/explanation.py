"""Show an image, and where the evidence for its answer lies, finer than the model takes it. Not a medical device."""

from __future__ import annotations

from pneumonia.config.schema import PreprocessConfig
from pneumonia.imaging.radiograph import read_bytes
from pneumonia.imaging.refusal import MAX_PIXELS
from pneumonia.inference import heat_map
from pneumonia.inference.served_model import Answer, ServedModel

SIDE = 768
"""Longer side of a picture that is shown, pixels: more than the model sees, and what fits a screen."""


def show(content: bytes, max_pixels: int = MAX_PIXELS) -> bytes:
    """Return a file's image as a grey PNG, which a browser shows, of `SIDE` pixels at its longer side.

    Raises:
        UnreadableRadiograph: as `pneumonia.imaging.radiograph.read_bytes`.
    """
    image = read_bytes(content, PreprocessConfig(size=SIDE), max_pixels=max_pixels)
    return heat_map.draw_levels(image.levels, image)


def explain(
    model: ServedModel, content: bytes, answer: Answer, view: heat_map.View, max_pixels: int = MAX_PIXELS
) -> bytes:
    """Return the heat map of an answer that is no refusal as PNG, alone or over the image.

    Args:
        model: that answered.
        content: of the file, which is decoded again.
        answer: of the model about it.
        view: overlay or map.
        max_pixels: of the file's image.
    """
    image = read_bytes(content, PreprocessConfig(size=SIDE), max_pixels=max_pixels)
    return heat_map.draw(answer, model.head, view, image)
