"""What is refused, and that nothing else comes of damaged files."""

from __future__ import annotations

import pickle
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pneumonia.config.schema import PreprocessConfig
from pneumonia.errors import DataError
from pneumonia.imaging.radiograph import UnreadableRadiograph, read_bytes
from tests.support.images import LOSSLESS, LOSSY, dicom, encode, jpeg, picture, png

SMALL = PreprocessConfig(size=64)
GREY = picture()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(content: bytes, kind: bytes, body: bytes) -> bytes:
    """The PNG with a chunk more, after its header."""
    return content[:33] + png_chunk(kind, body) + content[33:]


def with_header(width: int, height: int, bits: int, colour: int) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return png(GREY)[:8] + header + png(GREY)[33:]


def jpeg_frame(content: bytes, **fields: int) -> bytes:
    """The JPEG with other numbers in its frame header."""
    at = content.index(b"\xff\xc0")
    bits, height, width, components = struct.unpack(">BHHB", content[at + 4 : at + 10])
    known = {"bits": bits, "height": height, "width": width, "components": components} | fields
    head = struct.pack(">BHHB", *(known[name] for name in ("bits", "height", "width", "components")))
    return content[: at + 4] + head + content[at + 10 :]


def damaged_pixels(content: bytes) -> bytes:
    """The PNG with one bit turned in its pixel data, which Pillow alone does not notice."""
    at = content.index(b"IDAT") + 40
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


FRAME = Image.fromarray(GREY)


def translucent(mode: str) -> Image.Image:
    """A picture of which one pixel is a little transparent."""
    image = FRAME.convert(mode)
    alpha = image.getchannel("A")
    alpha.putpixel((5, 5), 254)
    image.putalpha(alpha)
    return image


REFUSED = {
    "zero bytes": (b"", "zero bytes"),
    "text": (b"patient,finding\n1,none\n", "not an image"),
    "GIF": (encode(GREY, "GIF"), "a GIF"),
    "TIFF": (encode(GREY, "TIFF"), "a TIFF"),
    "BMP": (encode(GREY, "BMP"), "a BMP"),
    "JPEG 2000": (encode(GREY, "JPEG2000"), "a JPEG 2000"),
    "HTML": (b"<!DOCTYPE html><html>login</html>", "an HTML"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "a Git LFS pointer"),
    "JPEG as text": (jpeg(GREY).decode("latin-1").encode(), "re-encoded as text"),
    "only the magic of JPEG": (b"\xff\xd8\xff", "truncated JPEG"),
    "only the magic of PNG": (b"\x89PNG\r\n\x1a\n", "truncated PNG"),
    "truncated JPEG": (jpeg(GREY)[:-500], "truncated JPEG"),
    "JPEG filled up with zeros": (jpeg(GREY)[:-500] + bytes(500), "truncated JPEG"),
    "truncated PNG": (png(GREY)[:-500], "truncated PNG"),
    "damaged PNG": (damaged_pixels(png(GREY)), "checksum"),
    "16-bit colour PNG": (with_header(120, 90, 16, 2), "16-bit PNG file of RGB"),
    "1-bit PNG": (png(FRAME.convert("1")), "1-bit"),
    "2-bit PNG": (png(FRAME.quantize(4).convert("L"), bits=2), "2-bit"),
    "transparent grey PNG": (png(translucent("LA")), "transparent"),
    "transparent RGB PNG": (png(translucent("RGBA")), "transparent"),
    "transparent palette PNG": (png(FRAME.convert("P"), transparency=int(GREY[3, 3])), "transparent"),
    "PNG with a transparent colour": (png(GREY, transparency=int(GREY[3, 3])), "transparent"),
    "16-bit PNG with a transparent colour": (png(GREY.astype(np.uint16), transparency=3), "transparent"),
    "PNG with two headers": (with_chunk(png(GREY), b"IHDR", struct.pack(">IIBBBBB", 9000, 9000, 8, 0, 0, 0, 0)), "two"),
    "animated PNG": (png(GREY, save_all=True, append_images=[FRAME.rotate(90)]), "animated"),
    "CMYK JPEG": (jpeg(FRAME.convert("CMYK")), "CMYK"),
    "JPEG with several pictures": (encode(GREY, "MPO", save_all=True, append_images=[FRAME.rotate(90)]), "several"),
    "12-bit JPEG": (jpeg_frame(jpeg(GREY), bits=12), "12-bit"),
    "lossless JPEG": (jpeg(GREY).replace(b"\xff\xc0", b"\xff\xc3", 1), "lossless"),
    "PNG bomb": (with_header(60_000, 60_000, 8, 0), "60000x60000"),
    "PNG a little too large": (with_header(7_100, 7_100, 8, 0), "7100x7100"),
    "JPEG bomb": (jpeg_frame(jpeg(GREY), width=65_000, height=65_000), "65000x65000"),
    "JPEG with endless scans": (jpeg(GREY)[:-2] + b"\xff\xda\x00\x00" * 200 + b"\xff\xd9", "scans"),
    "small": (png(picture(height=31, width=200)), "200x31"),
    "black": (png(np.zeros((50, 50), np.uint8)), "single grey level"),
    "one grey": (jpeg(np.full((90, 90), 117, np.uint8)), "single grey level"),
    "truncated DICOM": (dicom(GREY)[:-500], "damaged DICOM"),
}


@pytest.mark.parametrize(("content", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused_with_reason_and_remedy(content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableRadiograph) as caught:
        read_bytes(content, SMALL, name="images/IM-0001.jpeg")
    error = caught.value
    assert reason in error.reason
    assert error.path == "images/IM-0001.jpeg"
    assert error.remedy
    assert str(error) == f"images/IM-0001.jpeg: {error.reason}; {error.remedy}"
    assert "\n" not in str(error)
    assert " at 0x" not in str(error)


@pytest.mark.filterwarnings("default::UserWarning:pydicom", "ignore::UserWarning")
@pytest.mark.parametrize("name", [*LOSSLESS, *LOSSY])
def test_every_truncation_is_refused(name: str) -> None:
    content = (LOSSLESS | LOSSY)[name]
    delimiter = 8 if "RLE" in name or "JPEG" in name else 0  # after the last pixel, of encapsulated DICOM
    rng = np.random.default_rng(1)
    for length in rng.integers(0, len(content) - delimiter, 60):
        with pytest.raises(UnreadableRadiograph):
            read_bytes(content[:length], SMALL)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", [*LOSSLESS, *LOSSY])
def test_damage_raises_nothing_but_a_refusal(name: str) -> None:
    content = (LOSSLESS | LOSSY)[name]
    rng = np.random.default_rng(2)
    for _ in range(60):
        damaged = bytearray(content)
        for at in rng.integers(0, min(len(content), 700), 3):
            damaged[at] = rng.integers(256)
        try:
            image = read_bytes(bytes(damaged), SMALL)
        except UnreadableRadiograph:
            continue
        assert image.pixels.shape == (64, 64)


def test_refusals_travel_between_processes() -> None:
    error = pickle.loads(pickle.dumps(UnreadableRadiograph("a.png", "is empty", "fetch it again")))  # noqa: S301
    assert isinstance(error, DataError)
    assert (error.path, error.reason, error.remedy) == ("a.png", "is empty", "fetch it again")
