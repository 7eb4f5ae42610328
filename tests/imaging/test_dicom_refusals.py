"""Every refusal of a DICOM file, in words that name what is wrong and what to do."""

from __future__ import annotations

import re
import struct
import sys
from typing import Any

import numpy as np
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG2MPML,
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from pneumonia.config.schema import PreprocessConfig
from pneumonia.imaging import dicom_file, dicom_pixels
from pneumonia.imaging.radiograph import UnreadableRadiograph, read_bytes
from tests.support.dicom_cases import EIGHT, SCENE, lut, wide, words
from tests.support.images import dicom, encode, jpeg, picture

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, before it raises

SMALL = PreprocessConfig(size=64)
GREY = picture()
COLOURED = np.stack([GREY, GREY // 2, GREY // 3], axis=-1)
PYTHON = re.compile(
    r"NoneType|operand|Error|Traceback|<[a-z_]+|\b0x[0-9a-f]{6}|object (has|at 0)|argument|unpack|index|\bint\b|Errno"
)
JPEG = jpeg(GREY)


def element(name: str, kind: str, value: Any) -> DataElement:
    return DataElement(name, kind, value)


def colour(**elements: Any) -> bytes:
    """An image in colour, uint8 [H, W, 3]."""
    known = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    return dicom(GREY, **(known | {"PixelData": COLOURED.tobytes()} | elements))


def frames(*fragments: bytes, syntax: UID = JPEGBaseline8Bit, **elements: Any) -> bytes:
    return dicom(GREY, syntax, PixelData=encapsulate(list(fragments)), **elements)


def run_lengths(*segments: bytes, count: int = 1) -> bytes:
    starts = [64 + sum(map(len, segments[:number])) for number in range(len(segments))]
    header = struct.pack("<16L", count, *starts, *[0] * (15 - len(starts)))
    return frames(header + b"".join(segments), syntax=RLELossless)


def renamed(content: bytes, syntax: str) -> bytes:
    """The file with another transfer syntax in its header, which its pixels do not have."""
    at = content.index(b"\x02\0\x10\0UI") + 6
    length = int.from_bytes(content[at : at + 2], "little")
    name = (syntax + "\0" * (len(syntax) % 2)).encode()
    return content[:at] + struct.pack("<H", len(name)) + name + content[at + 2 + length :]


def table(**descriptor: Any) -> bytes:
    return wide(VOILUTSequence=[lut(words(range(4096)), kind="OW", **descriptor)])


def bare(*elements: DataElement) -> Dataset:
    """An item of a sequence."""
    item = Dataset()
    for each in elements:
        item.add(each)
    return item


def without_syntax() -> bytes:
    content = dicom(GREY)
    at = content.index(b"\x02\0\x10\0UI")
    end = at + 8 + int.from_bytes(content[at + 6 : at + 8], "little")
    return content[:at] + content[end:]


REFUSED: dict[str, tuple[bytes, str]] = {
    # --- the file
    "no transfer syntax": (without_syntax(), "names no transfer syntax"),
    "private transfer syntax": (renamed(dicom(GREY), "1.2.840.113619.5.2"), "not read, 1.2.840.113619.5.2"),
    "no transfer syntax's name": (
        renamed(dicom(GREY), "1.2.840.10008.1.9.9"),
        "not read, 1.2.840.10008.1.9.9",
    ),
    "video": (frames(b"\0\0\1\xb3", syntax=MPEG2MPML), "not read, 1.2.840.10008.1.2.4.100"),
    "truncated": (dicom(GREY)[:-500], "cut off in its PixelData, 10,300 of 10,800 bytes"),
    "deflated, damaged": (dicom(GREY, DeflatedExplicitVRLittleEndian)[:-400] + bytes(400), "damaged DICOM"),
    "deflated, cut off": (dicom(GREY, DeflatedExplicitVRLittleEndian)[:-400], "it is cut off"),
    "not deflated": (renamed(dicom(GREY), "1.2.840.10008.1.2.1.99"), "damaged DICOM"),
    "a number of 100,000 letters": (wide(WindowCenter=element("WindowCenter", "UT", "1" * 100_000)), "100,000 bytes"),
    "a table of 3 MB": (
        wide(VOILUTSequence=[bare(element("LUTData", "OW", bytes(3_000_000)))]),
        "VOILUTSequence",
    ),
    # --- the image pixel module
    "no pixels": (dicom(GREY, PixelData=None), "without pixel data"),
    "empty pixels": (dicom(GREY, PixelData=b""), "pixel data are empty"),
    "real pixels": (dicom(GREY, PixelData=None, FloatPixelData=bytes(4 * GREY.size)), "floating-point"),
    "no size": (dicom(GREY, Rows=None), "Rows missing"),
    "two sizes": (dicom(GREY, Rows=[90, 90]), "Rows missing or not a number"),
    "bomb": (dicom(GREY, Rows=60_000, Columns=60_000), "60000x60000"),
    "no interpretation": (dicom(GREY, PhotometricInterpretation=None), "lowest value is black or white"),
    "interpretation that moves the cursor": (
        dicom(GREY, PhotometricInterpretation="\x1b[2JMONO"),
        "of ?[2JMONO pixels",
    ),
    "interpretation in bytes": (
        dicom(GREY, PhotometricInterpretation=element("PhotometricInterpretation", "OB", b"GREY")),
        "of GREY pixels",
    ),
    "palette": (dicom(GREY, PhotometricInterpretation="PALETTE COLOR"), "PALETTE COLOR"),
    "colour of one sample": (dicom(GREY, PhotometricInterpretation="RGB"), "RGB pixels with 1 samples"),
    "colour": (colour(), "in colour (RGB)"),
    "halved colour": (colour(PhotometricInterpretation="YBR_FULL_422"), "YBR_FULL_422"),
    "colour of 16 bits": (colour(BitsAllocated=16, BitsStored=16, HighBit=15), "16-bit samples of RGB"),
    "frames": (dicom(np.stack([GREY, GREY]), NumberOfFrames=2), "2 frames"),
    "frames in letters": (dicom(GREY, NumberOfFrames=element("NumberOfFrames", "LO", "1A")), "NumberOfFrames"),
    "mask": (dicom(GREY, BitsAllocated=1, BitsStored=1, HighBit=0), "1-bit"),
    "32 bits": (dicom(GREY.astype(np.uint32)), "32-bit"),
    "high bit below the stored bits": (wide(HighBit=7), "stores 12 of 16 bits with the high bit 7"),
    "more bits than there are": (wide(HighBit=16), "high bit 16"),
    "no stored bits": (wide(BitsStored=0, HighBit=0), "stores 0 of 16 bits"),
    "too few pixels": (dicom(GREY, Rows=500), "10,800 of 60,000 bytes"),
    "too many pixels": (dicom(GREY, Rows=40), "10,800 bytes of pixels and declares 4,800"),
    # --- transformations
    "slope of nothing": (wide(RescaleSlope=0, RescaleIntercept=5), "rescale slope of 0"),
    "slope in letters": (wide(RescaleSlope=element("RescaleSlope", "LO", "abc")), "RescaleSlope is not a number"),
    "slope in letters, typed": (
        wide(RescaleSlope="1.5").replace(b"DS\4\x001.5 ", b"DS\4\0abc ", 1),
        "RescaleSlope is not a number",
    ),
    "infinite slope": (wide(RescaleSlope=element("RescaleSlope", "LO", "1e999")), "RescaleSlope is not a number"),
    "slope beyond all numbers": (wide(RescaleSlope="1e307", RescaleIntercept="1e308"), "too large to be shown"),
    "window of nothing": (wide(WindowCenter=100, WindowWidth=0), "window 0 wide"),
    "window without a number": (wide(WindowCenter=element("WindowCenter", "LO", "nan"), WindowWidth=5), "WindowCenter"),
    "window of an unknown function": (wide(WindowCenter=9, WindowWidth=9, VOILUTFunction="CUBIC"), "CUBIC"),
    "table without data": (wide(VOILUTSequence=[bare(element("LUTDescriptor", "US", [4, 0, 16]))]), "is incomplete"),
    "table without a descriptor": (
        wide(VOILUTSequence=[bare(element("LUTData", "OW", words([1, 2])))]),
        "is incomplete",
    ),
    "table that is short": (table(count=5000), "4,096 of 5,000 entries"),
    "table of half its entries": (table(count=8192), "4,096 of 8,192 entries"),
    "table of 80,000": (
        wide(ModalityLUTSequence=[lut(bytes(160_000), kind="OW", count=4096)]),
        "ModalityLUTSequence holds more than 65,536 entries",
    ),
    "no sequence": (wide(VOILUTSequence=element("VOILUTSequence", "LO", "none")), "VOILUTSequence is no sequence"),
    # --- compressed frames
    "compressed and declared native": (
        renamed(frames(JPEG), "1.2.840.10008.1.2.1"),
        "compressed pixels to be uncompressed",
    ),
    "native and declared compressed": (
        renamed(dicom(GREY), "1.2.840.10008.1.2.4.50"),
        "damaged DICOM",
    ),
    "no fragment": (dicom(GREY, JPEGBaseline8Bit, PixelData=b"\xfe\xff\0\xe0\0\0\0\0"), "has no compressed frame"),
    "frame of another size": (dicom(GREY, JPEGBaseline8Bit, Rows=50), "declared size"),
    "frame in colour": (frames(jpeg(COLOURED)), "3 samples a pixel, and 1 are declared"),
    "frame cut off": (frames(JPEG[:-2]), "frame is truncated"),
    "frame cut off and filled": (frames(JPEG[:-500] + bytes(498)), "frame is truncated"),
    "frame without a header": (frames(JPEG[:30]), "no header"),
    "frame of scans": (frames(JPEG[:-2] + b"\xff\xda\0\0" * 200 + b"\xff\xd9"), "more than 100 scans"),
    "frame of several": (frames(JPEG.replace(b"\xff\xc0", b"\xff\xc5", 1)), "hierarchical"),
    "frame that is none": (frames(bytes(500)), "no JPEG"),
    "JPEG 2000 cut off": (
        frames(encode(GREY, "JPEG2000", no_jp2=True)[:-900], syntax=JPEG2000Lossless),
        "frame is truncated",
    ),
    "JPEG 2000 without a header": (frames(b"\xff\x4f\xff\x51" + bytes(9), syntax=JPEG2000Lossless), "no header"),
    "run lengths of two bytes": (run_lengths(bytes(100), count=2), "another header"),
    "run lengths cut off": (run_lengths(b"\x7f" + bytes(128)), "run lengths are cut off"),
    "run lengths without end": (run_lengths(b"\x80" * 30_000), "longer than its pixels"),
}


@pytest.mark.parametrize(("content", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused_in_words(content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableRadiograph) as caught:
        read_bytes(content, SMALL)
    assert reason in caught.value.reason
    assert caught.value.remedy
    assert not PYTHON.search(str(caught.value).replace("<bytes>", ""))


@pytest.mark.parametrize(
    ("syntax", "frame", "name"),
    [
        (JPEGLosslessSV1, JPEG.replace(b"\xff\xc0", b"\xff\xc3", 1), "1.2.840.10008.1.2.4.70"),
        (JPEGExtended12Bit, JPEG.replace(b"\xff\xc0\x00\x0b\x08", b"\xff\xc1\x00\x0b\x0c", 1), "12-bit"),
        (JPEGLSLossless, JPEG.replace(b"\xff\xc0", b"\xff\xf7", 1), "JPEG-LS"),
    ],
    ids=["lossless", "12-bit", "JPEG-LS"],
)
def test_without_the_extra_the_remedy_names_it(
    monkeypatch: pytest.MonkeyPatch, syntax: UID, frame: bytes, name: str
) -> None:
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(UnreadableRadiograph) as caught:
        read_bytes(frames(frame, syntax=syntax), SMALL)
    assert "not read" in caught.value.reason
    assert "damaged" not in str(caught.value)
    assert name in caught.value.reason
    assert "pneumonia[dicom]" in caught.value.remedy
    assert "dcmdjpeg" in caught.value.remedy


def test_too_many_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_file._Counted, "_left", 40)
    with pytest.raises(UnreadableRadiograph, match="more than 250,000 elements"):
        read_bytes(dicom(GREY), SMALL)


def test_too_many_fragments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_pixels, "_MAX_FRAGMENTS", 3)
    with pytest.raises(UnreadableRadiograph, match="more than 3 fragments"):
        read_bytes(frames(JPEG, b"\0\0", b"\0\0"), SMALL)


def test_the_eight_bit_picture_itself_is_read() -> None:
    """What the refused files are made of is not refused for another reason."""
    assert (
        read_bytes(frames(JPEG), SMALL).width
        == read_bytes(colour(PixelData=np.stack([GREY] * 3, -1).tobytes()), SMALL).width
    )
    assert read_bytes(table(count=4096), SMALL).pixels.max() > 0
    assert read_bytes(run_lengths(b"".join(b"\x01" + bytes(row) for row in GREY.reshape(-1, 2))), SMALL).width == 120
    assert (EIGHT.shape, SCENE.dtype) == ((32, 48), np.uint16)
