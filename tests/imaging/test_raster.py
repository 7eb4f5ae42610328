"""Valid JPEG and PNG files of kinds that are easily refused, and what they show."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pneumonia.config.schema import PreprocessConfig
from pneumonia.imaging.radiograph import Radiograph, read_bytes
from pneumonia.imaging.refusal import PHANTOM_COMMENT
from tests.support.images import encode, jpeg, picture, png

SIDE = 96
CONFIG = PreprocessConfig(size=SIDE)  # the pictures have this size, so that nothing is resampled
GREY = picture(height=SIDE, width=SIDE)
FRAME = Image.fromarray(GREY)


def read(content: bytes) -> Radiograph:
    return read_bytes(content, CONFIG)


def many_grey_palette() -> Image.Image:
    """The picture with a palette in another order than that of its greys."""
    image = Image.fromarray(255 - GREY).convert("P")
    image.putpalette([level for index in range(256) for level in [255 - index] * 3])
    return image


VALID: dict[str, tuple[bytes, str]] = {
    "opaque grey": (png(FRAME.convert("LA")), "png;LA;8"),
    "opaque RGBA": (png(FRAME.convert("RGBA")), "png;RGBA;8"),
    "equal channels": (png(FRAME.convert("RGB")), "png;RGB;8"),
    "palette": (png(many_grey_palette()), "png;P;8"),
    "opaque palette": (png(many_grey_palette(), transparency=bytes([255] * 256)), "png;P;8"),
    "transparent colour that no pixel has": (png(GREY, transparency=0), "png;L;8"),
    "16 bits": (png(GREY.astype(np.uint16) * 257), "png;L;16"),
}


@pytest.mark.parametrize(("content", "encoding"), VALID.values(), ids=VALID)
def test_valid_files_show_their_picture(content: bytes, encoding: str) -> None:
    image = read(content)
    np.testing.assert_array_equal(image.pixels, GREY)
    assert (image.encoding, image.notes) == (encoding, ())


def test_a_palette_of_few_greys_is_read() -> None:
    few = (GREY // 32) * 32
    levels = sorted(set(few.ravel().tolist()))
    image = Image.fromarray(np.searchsorted(levels, few).astype(np.uint8)).convert("P")
    image.putpalette([level for level in levels for _ in range(3)])
    content = png(image, bits=4)
    assert read(content).encoding == "png;P;4"
    np.testing.assert_array_equal(read(content).pixels, few)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_sixteen_bits_that_hold_fewer_show_their_own_range(bits: int) -> None:
    """As a detector's values in a PNG, which would be black otherwise; also beside a defective pixel."""
    deep = GREY.astype(np.uint16) << (bits - 8)
    image = read(png(deep))
    expected = (GREY - float(GREY.min())) / np.ptp(GREY) * 255
    np.testing.assert_allclose(image.pixels, expected, atol=0.51)
    assert "16 bits" in " ".join(image.notes)
    deep[5, 7] = 65_535
    kept = np.ones_like(GREY, dtype=bool)
    kept[5, 7] = False
    np.testing.assert_array_equal(read(png(deep)).pixels[kept], image.pixels[kept])


def test_sixteen_bits_are_turned_and_known_as_phantoms() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    info = PngInfo()
    info.add_text("Comment", PHANTOM_COMMENT)
    wide = picture(height=64, width=SIDE).astype(np.uint16) * 257
    image = read_bytes(png(np.rot90(wide), exif=exif, pnginfo=info), CONFIG)
    assert (image.width, image.height, image.phantom) == (SIDE, 64, True)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


TEXTS: dict[str, bytes] = {
    "large text": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1_200_000))),
    "text bomb": chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8))),
    "large XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"x" * 1_200_000),
    "larger XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"x" * 40_000_000),
    "compressed XMP bomb": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(10**8))),
    "profile bomb": chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**8))),
    "many texts": chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6))) * 100,
    "damaged text": chunk(b"zTXt", b"a\0\0no deflated text"),
    "unknown": chunk(b"vpAg", bytes(9)),
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_texts_beside_the_picture_do_not_matter(text: bytes) -> None:
    content = png(GREY)
    np.testing.assert_array_equal(read(content[:33] + text + content[33:]).pixels, GREY)


def test_a_compressed_text_of_reasonable_size_counts() -> None:
    """Orientation and comments stand in such texts too."""
    info = PngInfo()
    info.add_text("Comment", PHANTOM_COMMENT, zip=True)
    assert read(png(GREY, pnginfo=info)).phantom


@pytest.mark.parametrize("tail", [b"", b"\xff", b"\xff" * 9, bytes(4096), b"trailer" * 50, b"\r\n"])
@pytest.mark.parametrize("make", [jpeg, png])
def test_bytes_behind_the_end_do_not_matter(make: Any, tail: bytes) -> None:
    np.testing.assert_array_equal(read(make(GREY) + tail).pixels, read(make(GREY)).pixels)


def test_fill_bytes_before_a_marker_do_not_matter() -> None:
    content = jpeg(GREY)
    filled = content[:2] + b"\xff" * 70_000 + content[2:]
    np.testing.assert_array_equal(read(filled).pixels, read(content).pixels)


@pytest.mark.parametrize(
    "exif", [b"", b"\0\x11garbage", b"II*\0\xff\xff\0\0", b"II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\0abc\0\0\0\0\0"]
)
def test_a_damaged_exif_block_is_ignored(exif: bytes, recwarn: pytest.WarningsRecorder) -> None:
    body = b"Exif\0\0" + exif
    content = jpeg(GREY)
    tagged = content[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + content[2:]
    np.testing.assert_array_equal(read(tagged).pixels, read(content).pixels)


def shades(*channels: NDArray[np.uint8]) -> bytes:
    return encode(np.stack(channels, axis=-1), "PNG")


def test_colours_that_jpeg_made_of_grey_are_grey() -> None:
    """The channels of a grey picture differ by a level or two where its encoder kept no full precision."""
    near = read(shades(GREY, np.clip(GREY + 1, 0, 255).astype(np.uint8), GREY))
    assert np.abs(near.pixels.astype(int) - GREY).max() <= 1
