"""Remove from JPEG and PNG files what their picture does not need; its pixels stay the same, bit by bit.

An orientation other than upright stays, as EXIF of one entry, and so does the comment that declares a phantom.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image

from pneumonia.imaging.bare_codestream import bare_jpeg
from pneumonia.imaging.png_chunks import MAGIC, read_chunks
from pneumonia.imaging.refusal import PHANTOM_COMMENT, decoding, is_phantom

_ORIENTATION = 0x0112
_ORIENTATIONS = range(2, 9)  # 1 is upright
_NEEDED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT"})
_SAID_IN = frozenset({b"eXIf", b"tEXt", b"zTXt", b"iTXt"})  # where Pillow finds orientation and comment


def bare_jpeg_file(content: bytes) -> bytes:
    """Return a JPEG file without EXIF, XMP, profiles, thumbnails, comments and what follows its end.

    Raises:
        Refusal: it cannot be followed to its end.
    """
    with decoding("JPEG"):
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
            exif, phantom = _orientation(image), is_phantom(image.info.get("comment"))
        return bare_jpeg(content, PHANTOM_COMMENT.encode() if phantom else b"", exif)


def bare_png_file(content: bytes) -> bytes:
    """Return a PNG file of header, palette, transparency and pixels.

    Raises:
        Refusal: it is damaged.
    """
    with decoding("PNG"):
        png = read_chunks(content)
        exif, phantom = b"", False
        if png.kinds & _SAID_IN:
            with Image.open(io.BytesIO(png.content), formats=["PNG"]) as image:
                image.load()  # texts may follow the pixels
                exif, phantom = _orientation(image), is_phantom(image.info.get("Comment"))
        said = (_chunk(b"eXIf", exif) if exif else b"") + (
            _chunk(b"tEXt", b"Comment\0" + PHANTOM_COMMENT.encode()) if phantom else b""
        )
        header, *others = _kept_chunks(png.content)
        return b"".join([MAGIC, header, said, *others, _chunk(b"IEND", b"")])


def _orientation(image: Image.Image) -> bytes:
    """Return EXIF that holds an image's orientation alone, a TIFF structure; empty for an upright one."""
    value: Any = image.getexif().get(_ORIENTATION)
    if value not in _ORIENTATIONS:
        return b""
    return struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, _ORIENTATION, 3, 1, int(value), 0, 0)


def _kept_chunks(content: bytes) -> list[bytes]:
    position, kept = len(MAGIC), []
    while (kind := content[position + 4 : position + 8]) != b"IEND":
        end = position + 12 + int.from_bytes(content[position : position + 4], "big")
        if kind in _NEEDED:
            kept.append(content[position:end])
        position = end
    return kept


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
