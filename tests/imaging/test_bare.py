"""What is kept of a file: the same pixels, and nothing that identifies anybody."""

from __future__ import annotations

import io
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless

from pneumonia.config.schema import PreprocessConfig
from pneumonia.imaging.bare import reduce_to_picture
from pneumonia.imaging.bare_codestream import bare_jpeg_2000
from pneumonia.imaging.dicom import decode_dicom
from pneumonia.imaging.radiograph import UnreadableRadiograph, read_bytes
from pneumonia.imaging.refusal import PHANTOM_COMMENT, Refusal
from tests.support.dicom_cases import CASES, EIGHT, SCENE
from tests.support.identified import SECRETS, identified, leaked
from tests.support.images import dicom, encode, jpeg, picture, png
from tests.support.mutated import mutated

SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"
PREPROCESS = PreprocessConfig(size=64)


def same_picture(one: bytes, other: bytes) -> None:
    """Compare what training and service read of two files."""
    shown, again = (read_bytes(content, PREPROCESS) for content in (one, other))
    np.testing.assert_array_equal(shown.pixels, again.pixels)
    np.testing.assert_array_equal(shown.levels, again.levels)
    left = [(image.width, image.height, image.encoding, image.phantom, image.coloured) for image in (shown, again)]
    assert left[0] == left[1]
    assert shown.notes == again.notes


def same_dicom(content: bytes) -> bytes:
    kept, suffix = reduce_to_picture(content)
    before, after = decode_dicom(content), decode_dicom(kept)
    np.testing.assert_array_equal(np.asarray(before.image), np.asarray(after.image))
    assert (before.encoding, before.phantom, before.notes) == (after.encoding, after.phantom, after.notes)
    assert suffix == "dcm"
    assert reduce_to_picture(kept)[0] == kept
    return kept


@pytest.mark.parametrize("name", CASES)
def test_every_trait_of_dicom_is_shown_the_same(name: str) -> None:
    same_dicom(CASES[name].content)


def test_the_files_that_pydicom_ships_are_shown_the_same() -> None:
    same = 0
    for file in sorted(SHIPPED.rglob("*.dcm")):
        content = file.read_bytes()
        try:
            decode_dicom(content)
        except Refusal:
            continue
        kept = pydicom.dcmread(io.BytesIO(same_dicom(content)))
        assert {"PatientName", "PatientID", "StudyInstanceUID", "StudyDate"}.isdisjoint(kept.dir()), file
        same += 1
    assert same >= 16


def test_nothing_identifying_is_left_of_a_dicom_file() -> None:
    content = identified(EIGHT)
    assert len(leaked(content)) == len(SECRETS)  # the file has all of them
    assert leaked(same_dicom(content)) == []


@pytest.mark.parametrize(
    ("syntax", "frame"),
    [
        (JPEGBaseline8Bit, jpeg(EIGHT, comment=b"DOE^JANE")),
        (JPEG2000Lossless, encode(EIGHT, "JPEG2000", no_jp2=True, comment=b"DOE^JANE")),
        (JPEG2000Lossless, encode(EIGHT, "JPEG2000", comment=b"DOE^JANE", tile_size=(16, 16))),
    ],
)
def test_comments_inside_compressed_pixels_are_left_out(syntax: Any, frame: bytes) -> None:
    content = dicom(EIGHT, syntax, PixelData=encapsulate([frame + b"DOE^JANE"]))
    assert b"DOE^JANE" in content
    assert b"DOE" not in same_dicom(content)


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEGLosslessSV1])
def test_rarer_codestreams_are_followed(syntax: Any) -> None:
    imagecodecs = pytest.importorskip("imagecodecs", reason="the extra `dicom` is not installed")
    lossless = syntax == JPEGLosslessSV1
    frame = (
        imagecodecs.jpeg8_encode(SCENE, lossless=True, bitspersample=12)
        if lossless
        else imagecodecs.jpegls_encode(SCENE)
    )
    frame = frame[:2] + b"\xff\xfe\x00\x0aDOE^JANE" + frame[2:]
    content = dicom(SCENE, syntax, PixelData=encapsulate([frame]), BitsStored=12, HighBit=11)
    assert b"DOE" not in same_dicom(content)


def test_bytes_behind_the_pixels_are_left_out() -> None:
    content = dicom(EIGHT, PixelData=EIGHT.tobytes() + b"DOE^JANE") + b"\0\0"
    assert b"DOE" not in same_dicom(content[:-2])


def test_text_in_place_of_a_number_is_refused_or_left_out() -> None:
    item = Dataset()
    item.add_new(0x00283002, "US", [256, 0, 8])
    item.add_new(0x00283003, "LO", "DOE^JANE")
    item.add_new(0x00283006, "OW", bytes(512) + b"DOE^JANE" * 40)
    kept = same_dicom(dicom(EIGHT, VOILUTSequence=[item]))
    assert b"DOE^JANE" not in kept


def test_the_phantom_comment_and_an_instance_of_its_own_are_kept() -> None:
    kept = pydicom.dcmread(io.BytesIO(same_dicom(dicom(EIGHT, ImageComments=PHANTOM_COMMENT + "; DOE^JANE"))))
    assert kept.ImageComments == PHANTOM_COMMENT
    assert kept.SOPInstanceUID != "1.2.3.4"
    assert kept.SOPInstanceUID == kept.file_meta.MediaStorageSOPInstanceUID
    other = pydicom.dcmread(io.BytesIO(same_dicom(dicom(EIGHT, SOPInstanceUID="1.2.3.5"))))
    assert other.SOPInstanceUID != kept.SOPInstanceUID


# --- JPEG and PNG


def described(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x010E], exif[0x0112], exif[0x013B] = "DOE^JANE", orientation, "DOE^JANE"
    return exif.tobytes()


GREY = picture(1)
COLOUR = np.stack([picture(1), picture(1), picture(1)], axis=2)
XMP = b"<x:xmpmeta>DOE^JANE</x:xmpmeta>"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"comment": PHANTOM_COMMENT},
        {"progressive": True, "comment": "DOE^JANE"},
        {"restart_marker_blocks": 2, "xmp": XMP},
    ],
)
def test_a_jpeg_keeps_its_pixels_and_its_orientation(orientation: int, options: dict[str, Any]) -> None:
    for pixels in (GREY, COLOUR):
        given = jpeg(pixels, exif=described(orientation), icc_profile=b"DOE^JANE" * 9, **options) + b"DOE^JANE"
        kept, suffix = reduce_to_picture(given)
        same_picture(given, kept)
        assert suffix == "jpeg"
        assert b"DOE" not in kept
        assert reduce_to_picture(kept)[0] == kept
        assert len(kept) < len(given)


@pytest.mark.parametrize("options", [{"keep_rgb": True}, {"subsampling": 0}, {"subsampling": 2}])
def test_colours_that_are_stored_in_other_ways_are_read_the_same(options: dict[str, Any]) -> None:
    given = jpeg(np.stack([picture(1), picture(2), picture(3)], axis=2), **options)
    same_picture(given, reduce_to_picture(given)[0])


def test_a_jpegs_thumbnail_is_left_out() -> None:
    given = jpeg(GREY)
    at = given.index(b"JFIF\0")
    thumbnail = bytes([2, 2]) + b"DOE^JANE****"
    body = given[at : at + 12] + thumbnail
    given = given[: at - 2] + (len(body) + 2).to_bytes(2, "big") + body + given[at + 14 :]
    kept, _ = reduce_to_picture(given)
    same_picture(given, kept)
    assert b"DOE" not in kept


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("mode", ["L", "RGB", "P", "LA", "I;16"])
def test_a_png_keeps_its_pixels_and_its_orientation(orientation: int, mode: str) -> None:
    texts = PngInfo()
    texts.add_text("Author", "DOE^JANE")
    texts.add_itxt("Comment", PHANTOM_COMMENT + "; DOE^JANE")
    wide = Image.fromarray(GREY.astype(np.uint16) * 250)
    image = wide if mode == "I;16" else Image.fromarray(GREY).convert(mode)
    given = png(image, pnginfo=texts, exif=described(orientation), icc_profile=b"DOE^JANE") + b"DOE^JANE"
    kept, suffix = reduce_to_picture(given)
    same_picture(given, kept)
    assert suffix == "png"
    assert read_bytes(kept, PREPROCESS).phantom
    assert b"DOE" not in kept
    assert zlib.crc32(kept) == zlib.crc32(reduce_to_picture(kept)[0])


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"%PDF-1.4", jpeg(GREY)[:400], png(GREY)[:300], b"\xff\xd8\xff\xff"]
)
def test_what_is_no_whole_image_is_refused(content: bytes) -> None:
    with pytest.raises(Refusal):
        reduce_to_picture(content)


def outcome(number: int) -> str:
    """What becomes of a mutated file: no other exception than a refusal, and no other picture."""
    content = mutated(number)
    try:
        shown = read_bytes(content, PREPROCESS)
    except UnreadableRadiograph:
        shown = None
    try:
        kept, _ = reduce_to_picture(content)
    except Refusal:
        return "refused" if shown is None else "not kept"
    if shown is None:
        return "unread"  # the service keeps accepted images alone
    again = read_bytes(kept, PREPROCESS)
    np.testing.assert_array_equal(shown.pixels, again.pixels, err_msg=f"mutated({number})")
    return "same"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_is_read_of_damaged_files_is_kept_as_it_is_read() -> None:
    outcomes = Counter(outcome(number) for number in range(1_000))
    assert outcomes["same"] > 200
    assert outcomes["not kept"] <= 2  # of 6,000 such files it was one


@pytest.mark.parametrize("length", [1, 12, 40, 2**32 - 1])
def test_a_tile_that_leads_back_ends(length: int) -> None:
    """A tile part of JPEG 2000 says where the next begins; one that points at itself must not be followed for ever."""
    frame = bytearray(encode(EIGHT, "JPEG2000", no_jp2=True))
    at = frame.index(b"\xff\x90")
    frame[at + 6 : at + 10] = length.to_bytes(4, "big")
    with pytest.raises(Refusal):
        bare_jpeg_2000(bytes(frame))


@pytest.mark.real
def test_real_files_are_read_the_same(shared: Path) -> None:
    files = sorted((shared / "dicom").glob("*.dcm"))
    for folder in ("train/NORMAL", "train/PNEUMONIA"):
        files += sorted((shared / "originals" / "chest_xray").glob(f"{folder}/*"))[:20]
    assert len(files) > 20
    for file in files:
        content = file.read_bytes()
        kept, _ = reduce_to_picture(content)
        same_picture(content, kept)
