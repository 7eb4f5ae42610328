from __future__ import annotations

import errno
import io
import os
import pickle
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from films import dicom, encode, jpeg, picture, png
from PIL import Image
from pydicom.uid import (
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    RLELossless,
)

from pneumonia.config import PreprocessConfig
from pneumonia.data import radiograph
from pneumonia.data.radiograph import PHANTOM_COMMENT, UnreadableRadiograph, read, read_bytes
from pneumonia.errors import DataError

SMALL = PreprocessConfig(size=64)
GREY = picture()
COLOUR = Image.fromarray(GREY).convert("RGB")
PLAIN = np.asarray(Image.fromarray(GREY).resize((64, 64), Image.Resampling.BILINEAR))
LOSSLESS = {
    "png": png(GREY),
    "png, RGB": png(COLOUR),
    "png, optimised": png(GREY, optimize=True),
    "dicom, explicit": dicom(GREY),
    "dicom, implicit": dicom(GREY, ImplicitVRLittleEndian),
    "dicom, RLE": dicom(GREY, RLELossless),
    "dicom, JPEG 2000": dicom(GREY, JPEG2000Lossless),
    "dicom, identity rescale": dicom(GREY, RescaleSlope=1, RescaleIntercept=0),
    "dicom, full window": dicom(GREY, WindowCenter=128, WindowWidth=256),
}
LOSSY = {
    "jpeg": jpeg(GREY),
    "jpeg, RGB": jpeg(COLOUR),
    "jpeg, progressive": jpeg(GREY, progressive=True),
    "jpeg, restart markers": jpeg(GREY, restart_marker_rows=1),
    "dicom, JPEG": dicom(GREY, JPEGBaseline8Bit),
}


@pytest.mark.parametrize("content", LOSSLESS.values(), ids=LOSSLESS)
def test_lossless_containers_give_the_plain_squashed_antialiased_pixels(content: bytes) -> None:
    film = read_bytes(content, SMALL)
    assert film.pixels.dtype == np.uint8
    assert (film.width, film.height) == (120, 90)
    np.testing.assert_array_equal(film.pixels, PLAIN)


@pytest.mark.parametrize("content", LOSSY.values(), ids=LOSSY)
def test_lossy_containers_stay_within_their_loss(content: bytes) -> None:
    film = read_bytes(content, SMALL)
    assert (film.width, film.height) == (120, 90)
    assert np.abs(film.pixels.astype(int) - PLAIN).max() <= 4


def test_pixels_belong_to_the_caller() -> None:
    film = read_bytes(png(picture(height=64, width=64)), SMALL)
    film.pixels[0, 0] = 7
    assert film.pixels[0, 0] == 7


def test_encodings_are_told_canonically() -> None:
    assert read_bytes(png(GREY), SMALL).encoding == "png;L;8"
    assert read_bytes(png(COLOUR), SMALL).encoding == "png;RGB;8"
    assert read_bytes(dicom(GREY), SMALL).encoding == "dicom;1.2.840.10008.1.2.1;8;MONOCHROME2"
    tables = Image.open(io.BytesIO(jpeg(GREY))).quantization  # type: ignore[attr-defined]
    assert read_bytes(jpeg(GREY), SMALL).encoding == f"jpeg;L;q={np.mean(tables[0]):.1f}"
    assert read_bytes(jpeg(COLOUR), SMALL).encoding == f"jpeg;RGB;q={np.mean(tables[0]):.1f}"


def test_decoding_at_a_scale_changes_pixels_by_rounding() -> None:
    large = picture(height=1100, width=1500)
    content = jpeg(large)
    undrafted = Image.open(io.BytesIO(content)).resize((64, 64), Image.Resampling.BILINEAR)
    difference = np.abs(read_bytes(content, SMALL).pixels.astype(int) - np.asarray(undrafted))
    assert np.median(difference) <= 1
    assert difference.max() <= 6


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (6, Image.Transpose.ROTATE_90),
        (8, Image.Transpose.ROTATE_270),
    ],
)
def test_orientation_is_honoured(orientation: int, stored: Image.Transpose) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    for container in ("JPEG", "PNG"):
        film = read_bytes(encode(Image.fromarray(GREY).transpose(stored), container, exif=exif), SMALL)
        assert (film.width, film.height) == (120, 90)
        assert np.abs(film.pixels.astype(int) - PLAIN).max() <= 12
        assert np.median(np.abs(film.pixels.astype(int) - PLAIN)) <= 1


def test_equalised_levels_are_the_share_of_darker_pixels() -> None:
    equalised = read_bytes(png(GREY), PreprocessConfig(size=64, equalize=True)).pixels
    darkest = np.sum(PLAIN.min() == PLAIN)
    for level in np.unique(PLAIN):
        share = (np.sum(level >= PLAIN) - darkest) / (PLAIN.size - darkest)
        assert np.all(equalised[level == PLAIN] == np.rint(255 * share))
    assert equalised.min() == 0
    assert equalised.max() == 255
    assert abs(equalised.mean() - 127.5) < 3


def test_phantoms_are_known_by_their_comment_alone() -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Comment", PHANTOM_COMMENT)
    synthetic = [
        jpeg(GREY, comment=PHANTOM_COMMENT),
        png(GREY, pnginfo=info),
        dicom(GREY, ImageComments=PHANTOM_COMMENT),
    ]
    assert all(read_bytes(content, SMALL).phantom for content in synthetic)
    others = [jpeg(GREY), jpeg(GREY, comment=b"Lavc \xff"), png(GREY), dicom(GREY)]
    assert not any(read_bytes(content, SMALL).phantom for content in others)


def test_threads_see_the_same_pixels() -> None:
    contents = [*LOSSLESS.values(), *LOSSY.values()] * 4
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda content: read_bytes(content, SMALL).pixels, contents))
    for content, pixels in zip(contents, together, strict=True):
        np.testing.assert_array_equal(pixels, read_bytes(content, SMALL).pixels)


# --- what is refused -------------------------------------------------------------------------------------------


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(content: bytes, kind: bytes, body: bytes) -> bytes:
    """The PNG with a chunk more, after its header."""
    return content[:33] + png_chunk(kind, body) + content[33:]


def with_header(width: int, height: int, bits: int, colour: int) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return png(GREY)[:8] + header + png(GREY)[33:]


def jpeg_frame(content: bytes, **fields: int) -> bytes:
    """The JPEG with other figures in its frame header."""
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
REFUSED = {
    "zero bytes": (b"", "zero bytes"),
    "text": (b"patient,finding\n1,none\n", "not an image"),
    "GIF": (encode(GREY, "GIF"), "a GIF"),
    "TIFF": (encode(GREY, "TIFF"), "a TIFF"),
    "BMP": (encode(GREY, "BMP"), "a BMP"),
    "JPEG 2000": (encode(GREY, "JPEG2000"), "a JPEG 2000"),
    "only the magic of JPEG": (b"\xff\xd8\xff", "truncated JPEG"),
    "only the magic of PNG": (b"\x89PNG\r\n\x1a\n", "truncated PNG"),
    "truncated JPEG": (jpeg(GREY)[:-500], "truncated JPEG"),
    "JPEG filled up with zeros": (jpeg(GREY)[:-500] + bytes(500), "truncated JPEG"),
    "truncated PNG": (png(GREY)[:-500], "truncated PNG"),
    "damaged PNG": (damaged_pixels(png(GREY)), "checksum"),
    "16-bit PNG": (png(GREY.astype(np.uint16) * 200), "16-bit"),
    "1-bit PNG": (png(FRAME.convert("1")), "1-bit"),
    "palette PNG": (png(FRAME.convert("P")), "palette"),
    "transparent grey PNG": (png(FRAME.convert("LA")), "transparent"),
    "transparent RGB PNG": (png(FRAME.convert("RGBA")), "transparent"),
    "PNG with a transparent colour": (png(GREY, transparency=0), "transparent"),
    "animated PNG": (png(GREY, save_all=True, append_images=[FRAME.rotate(90)]), "animated"),
    "CMYK JPEG": (jpeg(FRAME.convert("CMYK")), "CMYK"),
    "JPEG with several pictures": (encode(GREY, "MPO", save_all=True, append_images=[FRAME.rotate(90)]), "several"),
    "12-bit JPEG": (jpeg_frame(jpeg(GREY), bits=12), "12-bit"),
    "lossless JPEG": (jpeg(GREY).replace(b"\xff\xc0", b"\xff\xc3", 1), "lossless"),
    "PNG bomb": (with_header(60_000, 60_000, 8, 0), "60000x60000"),
    "PNG a little too large": (with_header(7_100, 7_100, 8, 0), "7100x7100"),
    "JPEG bomb": (jpeg_frame(jpeg(GREY), width=65_000, height=65_000), "65000x65000"),
    "JPEG with endless scans": (jpeg(GREY)[:-2] + b"\xff\xda\x00\x00" * 200 + b"\xff\xd9", "scans"),
    "PNG with a text bomb": (with_chunk(png(GREY), b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8))), "damaged PNG"),
    "small": (png(picture(height=31, width=200)), "200x31"),
    "black": (png(np.zeros((50, 50), np.uint8)), "single grey level"),
    "one grey": (jpeg(np.full((90, 90), 117, np.uint8)), "single grey level"),
    "DICOM without pixels": (dicom(GREY, PixelData=None), "without pixel data"),
    "DICOM without a size": (dicom(GREY, Rows=None), "Rows missing"),
    "DICOM in colour": (dicom(GREY, PhotometricInterpretation="RGB"), "RGB"),
    "DICOM with frames": (dicom(np.stack([GREY, GREY]), NumberOfFrames=2), "2 frames"),
    "DICOM bomb": (dicom(GREY, Rows=60_000, Columns=60_000), "60000x60000"),
    "DICOM whose frame is a bomb": (dicom(GREY, JPEGBaseline8Bit, Rows=50), "declared size"),
    "DICOM with too few pixels": (dicom(GREY, Rows=500), "damaged DICOM"),
    "DICOM with a mask": (dicom(GREY, BitsAllocated=1, BitsStored=1), "1 bits"),
    "DICOM with a window of nothing": (dicom(GREY, WindowCenter=100, WindowWidth=0), "window 0 wide"),
    "DICOM, lossless JPEG": (dicom(GREY, JPEGLosslessSV1), "not read, 1.2.840.10008.1.2.4.70"),
    "DICOM, deflated": (
        dicom(GREY).replace(b"\x14\x001.2.840.10008.1.2.1\0", b"\x16\x001.2.840.10008.1.2.1.99"),
        "transfer syntax",
    ),
    "truncated DICOM": (dicom(GREY)[:-500], "damaged DICOM"),
}


@pytest.mark.parametrize(("content", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused_with_reason_and_remedy(content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableRadiograph) as caught:
        read_bytes(content, SMALL, name="films/IM-0001.jpeg")
    error = caught.value
    assert reason in error.reason
    assert error.path == "films/IM-0001.jpeg"
    assert error.remedy
    assert str(error) == f"films/IM-0001.jpeg: {error.reason}; {error.remedy}"
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
            film = read_bytes(bytes(damaged), SMALL)
        except UnreadableRadiograph:
            continue
        assert film.pixels.shape == (64, 64)


def test_refusals_travel_between_processes() -> None:
    error = pickle.loads(pickle.dumps(UnreadableRadiograph("a.png", "is empty", "fetch it again")))  # noqa: S301
    assert isinstance(error, DataError)
    assert (error.path, error.reason, error.remedy) == ("a.png", "is empty", "fetch it again")


# --- files -----------------------------------------------------------------------------------------------------


def test_files_are_told_apart_by_content(tmp_path: Path) -> None:
    file = tmp_path / "film.jpeg"
    file.write_bytes(png(GREY))
    assert read(file, SMALL).encoding == "png;L;8"
    assert read(str(file), SMALL).encoding == "png;L;8"


def test_what_is_no_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.jpeg")
    large = tmp_path / "large.dcm"
    with large.open("wb") as file:
        file.truncate(radiograph.MAX_BYTES + 1)
    cases = {tmp_path / "absent.png": "does not exist", tmp_path: "not a file", tmp_path / "pipe.jpeg": "not a file"}
    for path, reason in (cases | {large: "more than the limit"}).items():
        with pytest.raises(UnreadableRadiograph, match=reason) as caught:
            read(path, SMALL)
        assert caught.value.path == str(path)
    with pytest.raises(UnreadableRadiograph, match="cannot be read"):
        read("nul\0name.jpeg", SMALL)


@pytest.mark.parametrize(("number", "reason"), [(errno.EACCES, "may not be read"), (errno.EIO, "cannot be read")])
def test_what_the_disk_refuses_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    file = tmp_path / "film.png"
    file.write_bytes(png(GREY))

    def fail(self: Path) -> bytes:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "read_bytes", fail)  # the superuser, whom tests may run as, is refused nothing
    with pytest.raises(UnreadableRadiograph, match=reason):
        read(file, SMALL)


def test_folders_are_searched_for_films_only(tmp_path: Path) -> None:
    for name in ("b.jpeg", "a/c.PNG", "a/d.dcm", "a/e.dicom", "z.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    for name in (".hidden.jpeg", ".cache/f.jpeg", "notes.txt", "Thumbs.db"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing")
    found = [file.relative_to(tmp_path).as_posix() for file in radiograph.find_files(tmp_path)]
    assert found == ["a/c.PNG", "a/d.dcm", "a/e.dicom", "b.jpeg", "gone.png", "z.jpg"]
    with pytest.raises(DataError, match="absent"):
        radiograph.find_files(tmp_path / "absent")


# --- real radiographs ------------------------------------------------------------------------------------------


@pytest.mark.real
def test_originals_differ_from_undrafted_decoding_by_rounding(shared: Path) -> None:
    files = radiograph.find_files(shared / "originals")[::9]
    for file in files:
        plain = Image.open(file).convert("L").resize((224, 224), Image.Resampling.BILINEAR)
        difference = np.abs(read(file, PreprocessConfig()).pixels.astype(int) - np.asarray(plain))
        assert np.median(difference) <= 1, file
        assert difference.mean() < 2, file
    assert len(files) >= 30


@pytest.mark.real
def test_published_copies_show_what_the_originals_show(shared: Path) -> None:
    originals = shared / "originals" / "chest_xray" / "train"
    assert {read(file, SMALL).encoding for file in (originals / "NORMAL").iterdir()} == {"jpeg;L;q=5.2"}
    coloured = [file for file in (originals / "PNEUMONIA").iterdir() if ";RGB;" in read(file, SMALL).encoding]
    assert len(coloured) == 3
    for file in coloured:
        channels = np.asarray(Image.open(file))
        assert np.ptp(channels.astype(int), axis=-1).max() == 0


@pytest.mark.real
def test_real_dicom_films(shared: Path) -> None:
    bright = read(shared / "dicom" / "chest_pa_monochrome2_jpeg.dcm", PreprocessConfig())
    dark = read(shared / "dicom" / "chest_pa_relabelled_monochrome1.dcm", PreprocessConfig())
    tibia = read(shared / "dicom" / "tibia_monochrome1_j2k.dcm", PreprocessConfig())
    assert np.abs(bright.pixels.astype(int) + dark.pixels - 255).max() <= 1
    assert (tibia.width, tibia.height, tibia.encoding) == (1760, 1760, "dicom;1.2.840.10008.1.2.4.90;10;MONOCHROME1")
