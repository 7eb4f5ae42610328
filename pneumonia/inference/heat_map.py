"""Draw where the evidence for PNEUMONIA lies: the class activation map of the served graph. Not a medical device.

The networks end in a global average and one linear layer. There, Grad-CAM (Selvaraju et al. 2017,
https://arxiv.org/abs/1610.02391) of the last feature map equals the class activation map (Zhou et al. 2016,
https://arxiv.org/abs/1512.04150), up to a factor: the feature map, weighted by the class's row of that layer.
"""

from __future__ import annotations

import io
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumonia.config.schema import CLASSES
from pneumonia.imaging.radiograph import Radiograph
from pneumonia.inference.engine import Outputs
from pneumonia.inference.served_model import Answer

View = Literal["image", "overlay", "map"]
VIEWS: tuple[View, ...] = ("image", "overlay", "map")
POSITIVE = CLASSES.index("PNEUMONIA")
OPACITY = 0.6
"""Opacity of the overlay where the map is highest; it falls to 0 with the map, so that the image stays to be seen."""


def activation_map(outputs: Outputs, head: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Compute the class activation map of PNEUMONIA.

    Negative evidence is cut off, and the map is divided by its own maximum: it says where the evidence lies, not how
    strong it is, so that the colours of two images cannot be compared.

    Args:
        outputs: of the graph.
        head: weights of the last layer, float32 [classes, C].
        size: side of the result in pixels.

    Returns:
        float32 [size, size], 0 to 1; all 0 where nothing speaks for PNEUMONIA.
    """
    weighted = np.tensordot(head[POSITIVE], outputs.feature_map, axes=1)
    coarse = _scaled(np.maximum(weighted, 0).astype(np.float32))
    fine = Image.fromarray(coarse).resize((size, size), Image.Resampling.BILINEAR)
    return _scaled(np.asarray(fine))


def _scaled(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale to 0..1, as pytorch-grad-cam does (`scale_cam_image`); a constant becomes 0."""
    above = values - values.min()
    return np.asarray(above / (1e-7 + above.max()), np.float32)


def draw(answer: Answer, head: NDArray[np.float32], view: View, image: Radiograph | None = None) -> bytes:
    """Draw an answer's image, its map, or the map over the image, as PNG with the aspect ratio of the original.

    Args:
        answer: that is no refusal.
        head: weights of the last layer, float32 [classes, C].
        view: image, overlay or map.
        image: the same file's, read finer than the model takes it; None: as the model takes it.

    Raises:
        ValueError: the answer is a refusal.
    """
    if answer.outputs is None or answer.image is None or answer.refused:
        raise ValueError("a refused image has no heat map")
    shown = image or answer.image
    heat = activation_map(answer.outputs, head, len(shown.levels))
    if view == "map":
        return draw_levels(_coloured(heat), shown)
    inverted = image is not None and (answer.assessment.findings or {}).get("inverted")
    levels = 255 - shown.levels if inverted else shown.levels
    if view == "image":
        return draw_levels(levels, shown)
    return draw_levels(overlay(levels, heat), shown)


def overlay(levels: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lay a map float32 [S, S], 0 to 1, over grey levels uint8 [S, S]: uint8 [S, S, 3]."""
    share = OPACITY * heat[..., None]
    mixed = (1 - share) * levels[..., None] + share * _coloured(heat)
    return np.asarray(np.rint(mixed), np.uint8)


def draw_levels(levels: NDArray[np.uint8], shown: Radiograph) -> bytes:
    """Return pixels uint8 [S, S] or [S, S, 3] as PNG, with the image's aspect ratio and S pixels at the longer side."""
    picture, longest = Image.fromarray(levels), max(shown.width, shown.height)
    size = (
        max(1, round(picture.width * shown.width / longest)),
        max(1, round(picture.height * shown.height / longest)),
    )
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    content = io.BytesIO()
    picture.save(content, "PNG", compress_level=1)
    return content.getvalue()


def _coloured(heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = colours()[np.rint(255 * np.clip(heat, 0, 1)).astype(np.uint8)]
    return found


@cache
def colours() -> NDArray[np.uint8]:
    """Return the table of colours, uint8 [256, 3] in sRGB: from dark violet over red and orange to pale yellow.

    A path through CIELAB whose lightness rises evenly, so that equal steps of the map look equal, in print and to
    people who tell few colours apart as well.
    """
    at = np.linspace(0, 1, 256)
    lightness = 12 + 80 * at
    chroma = np.interp(at, (0, 0.25, 0.6, 0.85, 1), (35, 62, 82, 72, 40))
    hue = np.radians(np.interp(at, (0, 0.25, 0.6, 1), (-50, -8, 55, 100)))
    return _srgb(lightness, chroma * np.cos(hue), chroma * np.sin(hue))


def _srgb(lightness: NDArray[np.float64], a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Convert CIELAB (white D65) to sRGB, IEC 61966-2-1."""
    y = (lightness + 16) / 116
    ratios = np.stack([y + a / 500, y, y - b / 200], axis=-1)
    xyz = np.where(ratios > 6 / 29, ratios**3, 3 * (6 / 29) ** 2 * (ratios - 4 / 29)) * (0.95047, 1.0, 1.08883)
    matrix = ((3.2406, -1.5372, -0.4986), (-0.9689, 1.8758, 0.0415), (0.0557, -0.2040, 1.0570))
    linear = np.clip(xyz @ np.array(matrix).T, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(255 * encoded), np.uint8)
