"""Small files that inflate to much: the memory that they take is bounded, whatever they are refused for."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from tests.support.images import dicom, encode, jpeg, picture, png

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of each file's memory")

GREY = picture()
MIB = 2**20
GROWTH = 400 * MIB
"""What decoding may add to the memory of a process; the largest radiograph that is accepted takes as much."""

DECODE = """
import json, resource, sys
from pathlib import Path
from pneumonia.config.schema import PreprocessConfig
from pneumonia.imaging.radiograph import UnreadableRadiograph, read

resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30,) * 2)
config = PreprocessConfig(size=64)
def memory(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
for file in sys.argv[1:3]:
    read(file, config)
for file in sys.argv[3:]:
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest value so far, which also a parent leaves behind
    before = memory("VmRSS")
    try:
        result = read(file, config).encoding
    except UnreadableRadiograph as error:
        result = error.reason
    print(json.dumps([Path(file).stem, result, memory("VmHWM") - before]), flush=True)
"""


@cache
def zeros(size: int, *, raw: bool = False, head: bytes = b"", tail: bytes = b"") -> bytes:
    """Compressed zeros, that are not held in memory here either."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15 if raw else 15)
    parts = [deflater.compress(head)]
    parts += [deflater.compress(bytes(MIB)) for _ in range(size // MIB)]
    return b"".join([*parts, deflater.compress(tail), deflater.flush()])


def element(group: int, number: int, kind: bytes, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    long = kind in (b"OB", b"OW", b"UN", b"SQ", b"UT")
    length = b"\0\0" + struct.pack("<L", len(value)) if long else struct.pack("<H", len(value))
    return struct.pack("<HH", group, number) + kind + length + value


def deflated(size: int) -> bytes:
    """A deflated image with a private element of zeros; its transfer syntax stands 5,000 bytes into the file."""
    header = b"".join(
        element(0x28, number, kind, value)
        for number, kind, value in (
            (2, b"US", b"\1\0"), (4, b"CS", b"MONOCHROME2"), (0x10, b"US", b"\x40\0"), (0x11, b"US", b"\x40\0"),
            (0x100, b"US", b"\x08\0"), (0x101, b"US", b"\x08\0"), (0x102, b"US", b"\x07\0"), (0x103, b"US", b"\0\0"),
        )
    )  # fmt: skip
    private = struct.pack("<HH2sHL", 0x29, 0x1000, b"OB", 0, size // MIB * MIB)
    pixels = element(0x7FE0, 0x10, b"OB", bytes(range(256)) * 16)
    meta = element(2, 1, b"OB", b"\0\1" + bytes(5000)) + element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1.99")
    meta = element(2, 0, b"UL", struct.pack("<L", len(meta))) + meta
    return bytes(128) + b"DICM" + meta + zeros(size, raw=True, head=header + private, tail=pixels)


def png_with(kind: bytes, body: bytes) -> bytes:
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    content = png(GREY)
    return content[:33] + chunk + content[33:]


def inserted(content: bytes, group: int, bomb: bytes) -> bytes:
    """The file with more bytes before the first element of a group."""
    at = content.index(struct.pack("<H", group) + b"\2\0US") if group == 0x28 else content.index(b"\xe0\x7f\x10\0OW")
    return content[:at] + bomb + content[at:]


def jpeg_2000(side: int) -> bytes:
    """A codestream that declares another size, of which nothing follows."""
    content = bytearray(encode(GREY, "JPEG2000", no_jp2=True))
    at = content.index(b"\xff\x51") + 6
    for offset in (0, 16):  # of the image, and of its tiles
        content[at + offset : at + offset + 8] = struct.pack(">LL", side, side)
    return bytes(content)


def run_lengths() -> bytes:
    """A hundred megabytes of runs for an image of a few thousand pixels."""
    segment = b"\x81\0" * 800_000
    return encapsulate([struct.pack("<16L", 1, 64, *[0] * 14) + segment])


def progressive(side: int) -> bytes:
    content = jpeg(GREY, progressive=True)
    at = content.index(b"\xff\xc2")
    return content[: at + 5] + struct.pack(">HH", side, side) + content[at + 9 :]


ITEMS = b"\xfe\xff\x00\xe0\0\0\0\0" * 400_000
"""Empty items of a sequence, of which each takes a kilobyte where it is parsed."""

BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "deflated": (lambda: deflated(500 * MIB), "inflates to more than"),
    "text": (lambda: png_with(b"zTXt", b"a\0\0" + zeros(500 * MIB)), "png;L;8"),
    "profile": (lambda: png_with(b"iCCP", b"a\0\0" + zeros(500 * MIB)), "png;L;8"),
    "translated text": (lambda: png_with(b"iTXt", b"a\0\1\0\0\0" + zeros(500 * MIB)), "png;L;8"),
    "pixels beyond the picture": (lambda: png_pixels(500 * MIB), "png;L;8"),
    "header of 50 megapixels": (lambda: png_size(7_071), "damaged PNG"),
    "items": (
        lambda: inserted(dicom(GREY), 0x28, struct.pack("<HH2sHL", 0x18, 0x1111, b"SQ", 0, 0xFFFFFFFF) + ITEMS),
        "more than 250,000 elements",
    ),
    "items of a table": (
        lambda: inserted(dicom(GREY), 0x7FE0, element(0x28, 0x3010, b"SQ", ITEMS)),
        "bytes of VOILUTSequence",
    ),
    "elements": (
        lambda: inserted(
            dicom(GREY), 0x28, b"".join(struct.pack("<HH2sH", 0x19, n, b"LO", 0) for n in range(1, 65_000)) * 8
        ),
        "more than 250,000 elements",
    ),
    "numbers": (
        lambda: inserted(dicom(GREY), 0x7FE0, element(0x28, 0x1050, b"UT", b"1\\" * 20_000_000)),
        "bytes of WindowCenter",
    ),
    "run lengths": (lambda: dicom(GREY, RLELossless, PixelData=run_lengths()), "longer than its pixels"),
    "fragments": (lambda: dicom(GREY, JPEGBaseline8Bit, PixelData=ITEMS), "more than 250,000 elements"),
    "JPEG 2000 of another size": (
        lambda: dicom(GREY, JPEG2000Lossless, PixelData=encapsulate([jpeg_2000(60_000)])),
        "declared size",
    ),
    "JPEG 2000 of 49 megapixels": (
        lambda: dicom(GREY, JPEG2000Lossless, PixelData=encapsulate([jpeg_2000(7_000)]), Rows=7_000, Columns=7_000),
        "dicom;1.2.840.10008.1.2.4.90;8",
    ),
    "progressive JPEG of 49 megapixels": (lambda: progressive(7_000), "single grey level"),
    "largest image": (lambda: dicom(np.arange(7_000 * 7_000, dtype=np.uint16).reshape(7_000, -1)), "dicom"),
    "zeros behind the pixels": (lambda: dicom(GREY) + bytes(4 * MIB), "dicom;1.2.840.10008.1.2.1;8"),
    "behind the pixels": (lambda: dicom(GREY) + ITEMS, "dicom;1.2.840.10008.1.2.1;8"),
}


def png_pixels(size: int) -> bytes:
    """A PNG whose compressed pixels go on behind its last row."""
    content = png(GREY)
    rows = b"".join(b"\0" + row.tobytes() for row in GREY)
    start = content.index(b"IDAT") - 4
    return content[:start] + _chunk(b"IDAT", zeros(size, head=rows)) + _chunk(b"IEND", b"")


def png_size(side: int) -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0))
    return png(GREY)[:8] + header + _chunk(b"IDAT", zeros(MIB)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.fixture(scope="module")
def decoded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, int]]:
    """What became of each bomb in another process, and by how much its memory grew."""
    folder = tmp_path_factory.mktemp("bombs")
    files = [folder / "plain.png", folder / "plain.dcm"]
    for file, content in zip(files, (png(GREY), dicom(GREY)), strict=True):
        file.write_bytes(content)
    for name, (make, _) in BOMBS.items():
        files.append(folder / f"{name}.bomb")
        files[-1].write_bytes(make())
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DECODE, *files], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {name: (result, growth) for name, result, growth in map(json.loads, done.stdout.splitlines())}


@pytest.mark.integration
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_takes_bounded_memory(decoded: dict[str, tuple[str, int]], name: str) -> None:
    result, growth = decoded[name]
    assert BOMBS[name][1] in result
    assert growth < GROWTH, f"{growth / MIB:.0f} MiB"


def test_a_deflated_bomb_is_small() -> None:
    assert len(deflated(20 * MIB)) < MIB / 4
