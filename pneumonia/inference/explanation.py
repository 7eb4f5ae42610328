"""Show an image as the model takes it, and where its evidence lies. Not a medical device."""

from __future__ import annotations

import numpy as np

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
    return heat_map.draw_image(image.levels, image.width, image.height)


def explain(
    model: ServedModel, content: bytes, answer: Answer, view: heat_map.View = "overlay", max_pixels: int = MAX_PIXELS
) -> bytes:
    """Return the heat map of an answer that is no refusal as PNG, alone or over the image.

    Args:
        model: that answered.
        content: of the file, which is decoded again, finer than the model takes it.
        answer: of the model about it.
        view: overlay or map.
        max_pixels: of the file's image.

    Raises:
        ValueError: the answer is a refusal.
    """
    if answer.outputs is None or answer.refused:
        raise ValueError("a refused image has no heat map")
    image = read_bytes(content, PreprocessConfig(size=SIDE), max_pixels=max_pixels)
    heat = heat_map.activation_map(answer.outputs, model.head, SIDE)
    if view == "map":
        return heat_map.draw_map(heat, image.width, image.height)
    levels = 255 - image.levels if (answer.assessment.findings or {}).get("inverted") else image.levels
    return heat_map.draw_overlay(np.asarray(levels), heat, image.width, image.height)
