"""How much of a picture is in colour, and that its grey levels do not depend on looking."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pneumonia.config.schema import PreprocessConfig
from pneumonia.imaging.radiograph import read_bytes
from tests.support.images import encode, picture, png

SIZE = PreprocessConfig(size=64)
GREY = picture(0, 300, 400)


def coloured(left: float) -> NDArray[np.uint8]:
    """The grey picture, of which a share on the left is reddish."""
    rgb = np.repeat(GREY[:, :, None], 3, axis=2)
    rgb[:, : round(left * GREY.shape[1]), 1:] //= 2
    return rgb


JPEGS = {
    "4:2:0": {"subsampling": 2},
    "4:4:4": {"subsampling": 0},
    "progressive": {"progressive": True},
    "red, green, blue": {"keep_rgb": True},
}


@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS.keys())
@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_share_in_colour_of_a_jpeg(options: dict[str, int], share: float) -> None:
    content = encode(Image.fromarray(coloured(share)), "JPEG", quality=90, **options)
    assert read_bytes(content, SIZE).coloured == pytest.approx(share, abs=0.06)


@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS.keys())
def test_the_luminance_of_a_jpeg_is_that_of_a_decoder_that_looks_at_no_colour(options: dict[str, int]) -> None:
    content = encode(Image.fromarray(coloured(0.5)), "JPEG", quality=90, **options)
    alone = Image.open(io.BytesIO(content))
    alone.draft("L", (128, 128))
    expected = alone.convert("L").resize((64, 64), Image.Resampling.BILINEAR)
    assert np.array_equal(read_bytes(content, SIZE).levels, np.asarray(expected))


def palette(rgb: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(rgb).quantize(64)


@pytest.mark.parametrize("convert", [Image.fromarray, lambda rgb: Image.fromarray(rgb).convert("RGBA"), palette])
def test_the_share_in_colour_of_a_png(convert: object) -> None:
    assert callable(convert)
    assert read_bytes(encode(convert(coloured(0.25)), "PNG"), SIZE).coloured == pytest.approx(0.25, abs=0.02)
    assert read_bytes(encode(convert(coloured(0.0)), "PNG"), SIZE).coloured == 0.0


def test_grey_files_are_not_in_colour() -> None:
    assert read_bytes(png(GREY), SIZE).coloured == 0.0
    assert read_bytes(encode(GREY, "JPEG"), SIZE).coloured == 0.0
