"""Remove from JPEG and JPEG 2000 codestreams whatever the pixels do not need: comments, EXIF, profiles, thumbnails.

Nothing is encoded again. Pixels and quantisation stay as they are.
"""

from __future__ import annotations

import re
import struct

from pneumonia.imaging.jpeg_markers import END
from pneumonia.imaging.refusal import FETCH_AGAIN, Refusal

_IMAGE, _SCAN, _END = 0xD8, 0xDA, 0xD9
_APPLICATION, _COMMENT = range(0xE0, 0xF0), 0xFE
_BARE = frozenset(range(0xD0, 0xD8)) | {0x01}  # markers without a length
_NEXT = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")  # behind entropy-coded data; JPEG-LS has no bytes above 7F behind FF
_FILL = re.compile(rb"\xff+")
_JFIF, _ADOBE, _COLOUR_TRANSFORM = b"JFIF\0", b"Adobe", b"mrfx"

_J2K_COMMENT, _J2K_TILE, _J2K_DATA, _J2K_END = 0x64, 0x90, 0x93, 0xD9  # ITU-T T.800, A.2


def bare_jpeg(content: bytes, comment: bytes = b"", exif: bytes = b"") -> bytes:
    """Return a JPEG or JPEG-LS codestream with the marker segments that decode it, up to its end marker.

    Of the application segments JFIF stays without its thumbnail, and Adobe's and Hewlett-Packard's colour transform,
    because decoders read by them which colours are stored.

    Args:
        content: the codestream, with anything after its end marker.
        comment: to be written.
        exif: a TIFF structure, to be written as EXIF.

    Raises:
        Refusal: its markers cannot be followed to its end.
    """
    out, position, begun = [content[:2]], 2, False
    while True:
        start = _marker(content, position)
        kind = content[start + 1]
        if kind in _BARE:
            position = start + 2
            continue
        if kind == _END:
            return b"".join([*out, END])
        segment = _segment(content, start)
        position = start + len(segment)
        if kind in _APPLICATION or kind == _COMMENT:
            out.append(_application(kind, segment[4:]))
            continue
        if not begun:
            out += [
                _written(0xE1, b"Exif\0\0" + exif) if exif else b"",
                _written(_COMMENT, comment) if comment else b"",
            ]
            begun = True
        out.append(segment)
        if kind == _SCAN:
            found = _NEXT.search(content, position)
            if found is None:
                raise _lost("JPEG")
            out.append(content[position : found.start()])
            position = found.start()


def _marker(content: bytes, position: int) -> int:
    """Return where the marker at a position begins, behind any number of fill bytes."""
    found = _FILL.match(content, position)
    if found is None or found.end() >= len(content):
        raise _lost("JPEG")
    return found.end() - 1


def _segment(content: bytes, start: int) -> bytes:
    end = start + 2 + int.from_bytes(content[start + 2 : start + 4], "big")
    if not start + 4 <= end <= len(content):
        raise _lost("JPEG")
    return content[start:end]


def _application(kind: int, body: bytes) -> bytes:
    """Return what decoders read of an application segment; empty where they read nothing."""
    if kind == 0xE0 and body.startswith(_JFIF):
        return _written(kind, body[:12] + b"\0\0" if len(body) >= 14 else body)  # a thumbnail of 0 x 0 pixels
    if kind == 0xEE and body.startswith(_ADOBE):
        return _written(kind, body[:12])
    if kind == 0xE8 and body.startswith(_COLOUR_TRANSFORM):
        return _written(kind, body[:5])
    return b""


def _written(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, kind, len(body) + 2) + body


def bare_jpeg_2000(content: bytes) -> bytes:
    """Return a JPEG 2000 codestream whose comments are blank, up to its end marker.

    Args:
        content: the codestream, without the boxes of a JP2 file, with anything after its end marker.

    Raises:
        Refusal: its markers cannot be followed to its end.
    """
    out, position, tile = bytearray(content), 2, 0
    while True:
        if position + 2 > len(out) or out[position] != 0xFF:
            raise _lost("JPEG 2000")
        kind = out[position + 1]
        if kind == _J2K_END:
            return bytes(out[: position + 2])
        if kind == _J2K_DATA:
            (length,) = struct.unpack(">I", out[tile + 6 : tile + 10])
            behind = tile + length if length else out.rfind(END)  # 0: the last tile's, which reaches to the end
            if behind <= position:
                raise _lost("JPEG 2000")
            position = behind
            continue
        tile = position if kind == _J2K_TILE else tile
        end = position + 2 + int.from_bytes(out[position + 2 : position + 4], "big")
        if not position + 4 <= end <= len(out):
            raise _lost("JPEG 2000")
        if kind == _J2K_COMMENT:
            out[position + 6 : end] = b" " * (end - position - 6)
        position = end


def _lost(container: str) -> Refusal:
    return Refusal(f"is a damaged {container} codestream (its markers do not lead to its end)", FETCH_AGAIN)
