"""Check the chunks of a PNG file, and keep those that its picture needs."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from pneumonia.imaging.refusal import FETCH_AGAIN, Refusal

MAGIC = b"\x89PNG\r\n\x1a\n"
MAX_TEXT = 2**20  # bytes that a compressed text may inflate to; a larger one is left out
MAX_TEXTS = 2**25  # bytes of all texts together
_MAX_CHUNKS = 1_000_000
_TEXTS = {b"tEXt": 0, b"zTXt": 1, b"iTXt": 2, b"iCCP": 1}  # bytes between a chunk's keyword and its text


@dataclass(frozen=True)
class Png:
    """A PNG file whose checksums are right.

    Attributes:
        content: the file, without texts and profiles beyond `MAX_TEXT` and `MAX_TEXTS`.
        kinds: of all its chunks.
        width: pixels.
        height: pixels.
        bits: of a channel, or of an index into the palette.
        colour: type, PNG specification, 11.2.1.
    """

    content: bytes
    kinds: frozenset[bytes]
    width: int
    height: int
    bits: int
    colour: int


def read_chunks(content: bytes) -> Png:
    """Read a file's header and walk its chunks, every checksum compared (PNG specification, 5.3).

    Pillow does not check the checksums of the pixel data, and would decode a damaged image without an error; and it
    refuses a file for the size of a text.
    """
    position, kinds, dropped, left = len(MAGIC), list[bytes](), list[tuple[int, int]](), MAX_TEXTS
    header = b""
    while b"IEND" not in kinds[-1:]:
        end = position + 12 + int.from_bytes(content[position : position + 4], "big")
        if end > len(content):
            raise Refusal("is a truncated PNG file (its end is missing)", FETCH_AGAIN)
        body = memoryview(content)[position + 4 : end - 4]
        if zlib.crc32(body) != int.from_bytes(content[end - 4 : end], "big"):
            raise Refusal("is a damaged PNG file (a checksum does not fit)", FETCH_AGAIN)
        kind = bytes(body[:4])
        if not kinds and kind == b"IHDR":
            header = bytes(body[4:])
        elif kind == b"IHDR":
            raise Refusal("is a damaged PNG file (it has two headers)", FETCH_AGAIN)
        if kind in _TEXTS:
            size = _text_size(bytes(body[4:]), kind)
            if size is None or size > left:
                dropped.append((position, end))
            else:
                left -= size
        kinds.append(kind)
        if len(kinds) > _MAX_CHUNKS:
            raise Refusal(f"is a PNG file of more than {_MAX_CHUNKS:,} chunks (a bomb?)", "remove it")
        position = end
    if len(header) != 13:
        raise Refusal("is a damaged PNG file (it does not begin with its header)", FETCH_AGAIN)
    width, height, bits, colour = struct.unpack(">IIBB", header[:10])
    return Png(_without(content, dropped), frozenset(kinds), width, height, bits, colour)


def _text_size(body: bytes, kind: bytes) -> int | None:
    """Return the size of a text or profile, None where it is damaged or inflates to more than `MAX_TEXT`."""
    _, _, rest = body.partition(b"\0")
    if kind == b"tEXt" or (kind == b"iTXt" and rest[:1] != b"\1"):
        return len(body)
    text = rest[_TEXTS[kind] :]
    if kind == b"iTXt":  # language and translated keyword come before
        text = text.split(b"\0", 2)[-1]
    try:
        size = len(zlib.decompressobj().decompress(text, MAX_TEXT + 1))
    except zlib.error:
        return None
    return size if size <= MAX_TEXT else None


def _without(content: bytes, dropped: list[tuple[int, int]]) -> bytes:
    if not dropped:
        return content
    ends = [0, *(end for _, end in dropped)]
    starts = [*(start for start, _ in dropped), len(content)]
    return b"".join(content[end:start] for end, start in zip(ends, starts, strict=True))
