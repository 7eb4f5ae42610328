from __future__ import annotations

import errno
import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumonia.config.schema import PreprocessConfig
from pneumonia.data.layout import find_files
from pneumonia.errors import DataError
from pneumonia.imaging import radiograph
from pneumonia.imaging.radiograph import UnreadableRadiograph, read, read_bytes
from pneumonia.imaging.refusal import PHANTOM_COMMENT
from tests.support.images import LOSSLESS, LOSSY, dicom, encode, jpeg, picture, png

SMALL = PreprocessConfig(size=64)
GREY = picture()
COLOUR = Image.fromarray(GREY).convert("RGB")
PLAIN = np.asarray(Image.fromarray(GREY).resize((64, 64), Image.Resampling.BILINEAR))


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
    found = [file.relative_to(tmp_path).as_posix() for file in find_files(tmp_path)]
    assert found == ["a/c.PNG", "a/d.dcm", "a/e.dicom", "b.jpeg", "gone.png", "z.jpg"]
    with pytest.raises(DataError, match="absent"):
        find_files(tmp_path / "absent")


# --- real radiographs ------------------------------------------------------------------------------------------


@pytest.mark.real
def test_originals_differ_from_undrafted_decoding_by_rounding(shared: Path) -> None:
    files = find_files(shared / "originals")[::9]
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
def test_a_film_and_its_published_small_copy_give_the_same_pixels(shared: Path) -> None:
    copies = Path(__file__).parents[2] / "data" / "chest_xray"
    if not copies.is_dir():
        pytest.skip("data/chest_xray is not there; dvc pull brings it")
    originals = shared / "originals" / "chest_xray"
    for size in (128, 160, 224):
        apart = []
        for file in find_files(originals)[::9]:
            seen = [
                read(path, PreprocessConfig(size=size)).pixels for path in (file, copies / file.relative_to(originals))
            ]
            apart.append(np.abs(seen[0].astype(int) - seen[1]))
        assert np.median(apart) <= 1, "grey levels of 255, on the median pixel"


@pytest.mark.real
def test_real_dicom_films(shared: Path) -> None:
    bright = read(shared / "dicom" / "chest_pa_monochrome2_jpeg.dcm", PreprocessConfig())
    dark = read(shared / "dicom" / "chest_pa_relabelled_monochrome1.dcm", PreprocessConfig())
    tibia = read(shared / "dicom" / "tibia_monochrome1_j2k.dcm", PreprocessConfig())
    assert np.abs(bright.pixels.astype(int) + dark.pixels - 255).max() <= 1
    assert (tibia.width, tibia.height, tibia.encoding) == (1760, 1760, "dicom;1.2.840.10008.1.2.4.90;10;MONOCHROME1")
