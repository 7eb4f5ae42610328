"""Read the headers of JPEG, JPEG-LS and JPEG 2000 codestreams without decoding them."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from pneumonia.imaging.refusal import FETCH_AGAIN, Refusal

END = b"\xff\xd9"  # of JPEG (ITU-T T.81), JPEG-LS (T.87) and JPEG 2000 (T.800) alike
SEQUENTIAL = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})  # and progressive: the frames that Pillow reads
LOSSLESS = 0xC3
JPEG_LS = 0xF7
JPEG_2000 = 0x51
MAX_SCANS = 100  # thousands only occupy the decoder

_FRAMES = (frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}) | {JPEG_LS}
_BARE = frozenset(range(0xD0, 0xD8)) | {0x01}  # markers without a length
_FILL = re.compile(rb"\xff*")
_MAX_SEGMENTS = 100_000
_CODESTREAM = b"\xff\x4f\xff\x51"  # SOC and SIZ (T.800, A.5.1)
_WITHIN = 4096  # bytes; the boxes of a JP2 file come before
_IMAGE = b"\xff\xd8"
_SCAN = 0xDA
_SCAN_MARKER = b"\xff\xda"


@dataclass(frozen=True)
class FrameHeader:
    """What a codestream declares of itself.

    Attributes:
        kind: the frame header's marker, its second byte; 0 where there is none.
        bits: of a sample.
        width: pixels.
        height: pixels.
        components: samples of a pixel.
        scans: how often the frame is gone through; progressive encoders write about ten.
        ended: an end marker follows the first scan.
        start: of the codestream, behind the boxes of a JP2 file.
    """

    kind: int
    bits: int
    width: int
    height: int
    components: int
    scans: int
    ended: bool
    start: int = 0


def read_header(content: bytes, container: str) -> FrameHeader:
    """Read the header of a codestream, JPEG 2000's also inside a JP2 file.

    Args:
        content: the codestream, with anything after its end marker.
        container: "JPEG" or "DICOM", for the refusal.

    Raises:
        Refusal: it is no codestream, or cut off before its first scan.
    """
    if not content.startswith(_IMAGE):
        at = content.find(_CODESTREAM, 0, _WITHIN)
        if at < 0:
            raise Refusal(f"is a damaged {container} file (its compressed pixels are no JPEG)", FETCH_AGAIN)
        return _jpeg_2000(content, at + 2, container)
    kind, frame, scan = _find_frame(content, container)
    if len(frame) < 6:
        raise Refusal(f"is a truncated {container} file (its picture has no header)", FETCH_AGAIN)
    bits, height, width, components = struct.unpack(">BHHB", frame)
    scans = content.count(_SCAN_MARKER, scan)
    return FrameHeader(kind, bits, width, height, components, scans, content.rfind(END, scan) >= 0)


def _find_frame(content: bytes, container: str) -> tuple[int, bytes, int]:
    """Return the frame header's marker and fields, and the offset of the first scan (ITU-T T.81, B.1 and B.2)."""
    kind, frame, position = 0, b"", 2
    for _ in range(_MAX_SEGMENTS):
        if position + 4 > len(content):
            break
        if content[position] != 0xFF:
            raise Refusal(f"is a damaged {container} file (a marker is missing)", FETCH_AGAIN)
        position = _end(_FILL.match(content, position)) - 1  # any number of fill bytes may precede a marker
        marker = content[position + 1] if position + 1 < len(content) else 0
        if marker in _BARE:
            position += 2
            continue
        if marker in _FRAMES:
            kind, frame = marker, content[position + 4 : position + 10]
        if marker == _SCAN:
            break
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return kind, frame, position


def _end(match: re.Match[bytes] | None) -> int:
    return match.end() if match else 0


def _jpeg_2000(content: bytes, at: int, container: str) -> FrameHeader:
    """Read the marker segment SIZ at an offset (ITU-T T.800, A.5.1)."""
    fields = content[at + 6 : at + 41]
    if len(fields) < 35:
        raise Refusal(f"is a truncated {container} file (its picture has no header)", FETCH_AGAIN)
    x, y, left, top = struct.unpack(">4I", fields[:16])
    (components,) = struct.unpack(">H", fields[32:34])
    bits = (fields[34] & 0x7F) + 1
    return FrameHeader(JPEG_2000, bits, x - left, y - top, components, 1, content.rfind(END) > at, at - 2)
