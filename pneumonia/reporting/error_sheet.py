"""Draw a sheet of images beside their heat maps, with what the model says of each. Not a medical device."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pneumonia.files import write_bytes
from pneumonia.records.assessment import Case
from pneumonia.reporting.plots import BLUE, GREY, INK, NOT_A_DEVICE, ORANGE
from pneumonia.reporting.tables import probability_text

COLUMNS = 5
SIDE = 168
"""Longer side of an image on the sheet, pixels."""
_GAP, _MARGIN, _LINE = 4, 24, 17
_PAIR = 2 * SIDE + _GAP
_STEP = (_PAIR + 20, SIDE + 3 * _LINE + 12)


@dataclass(frozen=True)
class Picture:
    """An image with its heat map.

    Attributes:
        case: what it is, and what the model says.
        image: uint8 [S, S], grey.
        heat: uint8 [S, S, 3], the map over the image.
        width, height: of the original, whose aspect ratio is shown.
    """

    case: Case
    image: NDArray[np.uint8]
    heat: NDArray[np.uint8]
    width: int
    height: int


@dataclass(frozen=True)
class Section:
    """Pictures under a title."""

    title: str
    pictures: tuple[Picture, ...]


def write_sheet(path: Path, sections: Sequence[Section], threshold: float, *, phantom: bool = False) -> Path:
    """Write the sheet as PNG, atomically: equal input, equal bytes.

    Args:
        path: of the file.
        sections: an empty one says that there is no image.
        threshold: from which an image is classified as PNEUMONIA.
        phantom: note that the images are synthetic.

    Raises:
        DataError: the file cannot be written.
    """
    height = 2 * _MARGIN + 3 * _LINE + sum(_height(section) for section in sections)
    sheet = Image.new("RGB", (2 * _MARGIN + COLUMNS * _STEP[0] - 20, height), "white")
    draw = ImageDraw.Draw(sheet)
    origin = "Phantoms (synthetic images). " if phantom else ""
    words = (
        f"{origin}{NOT_A_DEVICE}. Each image as the model saw it, beside the evidence for PNEUMONIA (class activation "
        f"map, scaled to its own maximum). PNEUMONIA from {threshold:.3g} on."
    )
    draw.text((_MARGIN, _MARGIN), words, GREY, _font(14))
    top = _MARGIN + 2 * _LINE
    for section in sections:
        draw.text((_MARGIN, top), section.title, INK, _font(20))
        if not section.pictures:
            draw.text((_MARGIN, top + 2 * _LINE), "None.", GREY, _font(15))
        for at, picture in enumerate(section.pictures):
            place = _MARGIN + at % COLUMNS * _STEP[0], top + 2 * _LINE + at // COLUMNS * _STEP[1]
            _draw(sheet, draw, picture, at + 1, place)
        top += _height(section)
    content = io.BytesIO()
    sheet.point(_six_bits).save(content, "PNG")
    return write_bytes(path, content.getvalue())


def _six_bits(level: int) -> int:
    """Drop what no eye sees and what makes the file nearly twice as large."""
    return level & 0xFC | level >> 6


def _height(section: Section) -> int:
    rows = -(-len(section.pictures) // COLUMNS)
    return 3 * _LINE + max(_LINE * 2, rows * _STEP[1])


def _draw(sheet: Image.Image, draw: ImageDraw.ImageDraw, picture: Picture, number: int, place: tuple[int, int]) -> None:
    left, top = place
    for at, pixels in enumerate((picture.image, picture.heat)):
        sheet.paste(_shown(pixels, picture).convert("RGB"), (left + at * (SIDE + _GAP), top))
    case = picture.case
    colour = ORANGE if case.label == "PNEUMONIA" else BLUE
    draw.text((left, top + SIDE + 3), f"{number}. {case.label}", colour, _font(15))
    answer = f"probability of PNEUMONIA {probability_text(case.probability)}"
    draw.text((left, top + SIDE + 3 + _LINE), answer, INK, _font(13))
    name = _shortened(case.path, draw, _font(13))
    draw.text((left, top + SIDE + 3 + 2 * _LINE), name, GREY, _font(13))


def _shown(pixels: NDArray[np.uint8], picture: Picture) -> Image.Image:
    """Return pixels with the original's aspect ratio, `SIDE` pixels at the longer side."""
    longest = max(picture.width, picture.height, 1)
    size = tuple(max(1, round(SIDE * side / longest)) for side in (picture.width, picture.height))
    return Image.fromarray(pixels).resize((size[0], size[1]), Image.Resampling.BILINEAR)


def _shortened(text: str, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Leave out the beginning of a path that is wider than the pair of images."""
    shown = text
    while draw.textlength(shown, font) > _PAIR and len(shown) > 2:
        shown = "…" + shown[2:]
    return shown


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
