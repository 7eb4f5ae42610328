"""Reduce a DICOM file to a short list of elements: those that its pixels are shown by, and what kind of image it is.

Everything else is left out: names, identifiers, dates, institutions, private elements, free text, and comments inside
compressed pixels. Of text only words of closed lists are kept. What is burnt into the pixels stays. The decoder shows
the same image, bit by bit.
"""

from __future__ import annotations

import hashlib
import io
import re
from typing import Any

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless, SecondaryCaptureImageStorage

from pneumonia.imaging.bare_codestream import bare_jpeg, bare_jpeg_2000
from pneumonia.imaging.dicom_attributes import read_attributes
from pneumonia.imaging.dicom_elements import text
from pneumonia.imaging.dicom_file import parse
from pneumonia.imaging.dicom_pixels import join_fragments
from pneumonia.imaging.dicom_words import BODY_PARTS, MODALITIES, VIEWS
from pneumonia.imaging.jpeg_markers import JPEG_2000, read_header
from pneumonia.imaging.lookup_table import read_table
from pneumonia.imaging.refusal import FETCH_AGAIN, PHANTOM_COMMENT, Refusal, decoding, is_phantom

KEPT_NUMBERS = (
    *("Rows", "Columns", "SamplesPerPixel", "PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept"),
    *("WindowCenter", "WindowWidth"),
)
"""Elements whose numbers are copied."""
KEPT_WORDS = {
    "PhotometricInterpretation": frozenset(
        {"MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}
    ),
    "VOILUTFunction": frozenset({"LINEAR", "LINEAR_EXACT", "SIGMOID"}),
    "PresentationLUTShape": frozenset({"IDENTITY", "INVERSE"}),
    "Modality": MODALITIES,
    "BodyPartExamined": BODY_PARTS,
    "ViewPosition": VIEWS,
}
"""Elements of which these words are copied, and no others."""
_TABLES = ("ModalityLUTSequence", "VOILUTSequence")
_UNREAD = "SharedFunctionalGroupsSequence"  # the decoder notes that there is one, and does not read it
_NUMBERS = re.compile(rb"[0-9+\-.eE \\\0]*")
_TEXTS = frozenset({"DS", "IS", "LO", "SH", "CS", "ST", "LT", "UT"})
_DIRECTION = re.compile(r"[LRAPHF]{1,3}")


def bare_dicom_file(content: bytes) -> bytes:
    """Return a DICOM image with the elements of the short list, in the transfer syntax that it has.

    Its instance identifier is derived from what is kept, so that the same image gets the same one.

    Raises:
        Refusal: it cannot be read.
    """
    with decoding("DICOM"):
        found = parse(content)
        syntax: UID = found.file_meta.TransferSyntaxUID
        bare = Dataset()
        bare.set_original_encoding(syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian, "iso8859")
        for name in KEPT_NUMBERS:
            _copy_number(found, bare, name)
        _copy_words(found, bare)
        _copy_tables(found, bare, "<u2" if syntax != ExplicitVRBigEndian else ">u2")
        bare.add(_pixels(found, syntax))
        return _written(bare, _storage(found), syntax)


def _copy_number(found: Dataset, bare: Dataset, name: str) -> None:
    """Copy an element as its bytes are, whichever type it was written with; refuse text where numbers should be."""
    raw: Any = found.get_item(name)
    if not isinstance(raw, RawDataElement) or not raw.value:
        return  # absent, or empty, which is read as absent
    if raw.VR in _TEXTS and not _NUMBERS.fullmatch(raw.value):
        raise Refusal(f"is a damaged DICOM file (its {name} is not a number)", FETCH_AGAIN)
    if name.startswith("PixelPadding") and raw.VR not in _TEXTS:
        raw = raw._replace(value=raw.value[:2], length=2)  # one number is read
    bare[raw.tag] = raw


def _copy_words(found: Dataset, bare: Dataset) -> None:
    for name, known in KEPT_WORDS.items():
        if (word := _word(found, name)) in known:
            setattr(bare, name, word)
    directions = read_attributes(found).orientation
    if len(directions) == 2 and all(_DIRECTION.fullmatch(each) for each in directions):
        bare.PatientOrientation = list(directions)
    if is_phantom(found.get("ImageComments")):
        bare.ImageComments = PHANTOM_COMMENT


def _word(found: Dataset, name: str) -> str:
    shown = {"Modality": "modality", "BodyPartExamined": "body_part", "ViewPosition": "view"}
    return getattr(read_attributes(found), shown[name]) if name in shown else text(found, name)


def _copy_tables(found: Dataset, bare: Dataset, words: str) -> None:
    """Copy the table of each sequence that the decoder reads, without its explanation."""
    for name in _TABLES:
        if (table := read_table(found, name)) is not None:
            item = Dataset()
            item.add_new("LUTDescriptor", "US", [len(table.entries) % 2**16, table.first, table.bits])
            item.add_new("LUTData", "OW", table.entries.astype(words).tobytes())
            setattr(bare, name, Sequence([item]))
    if _UNREAD in found:
        setattr(bare, _UNREAD, Sequence())


def _pixels(found: Dataset, syntax: UID) -> DataElement:
    """Return the pixels without what may lie behind them, or between the segments of their codestream."""
    raw: Any = found.get_item("PixelData")
    if not syntax.is_encapsulated:
        size = int(found.Rows) * int(found.Columns) * int(found.SamplesPerPixel) * int(found.BitsAllocated) // 8
        value = raw.value[: size + size % 2]
        value += b"\0" * (len(value) % 2)
        kind = "OW" if raw.VR in (None, "UN") or int(found.BitsAllocated) > 8 else raw.VR
        return DataElement(Tag("PixelData"), kind, value)
    frame = join_fragments(found)
    if syntax != RLELossless:
        header = read_header(frame, "DICOM")
        frame = frame[header.start :]
        frame = bare_jpeg_2000(frame) if header.kind == JPEG_2000 else bare_jpeg(frame)
    return DataElement(Tag("PixelData"), "OB", encapsulate([frame], has_bot=False), is_undefined_length=True)


def _storage(found: Dataset) -> UID:
    given = UID(read_attributes(found).storage)
    return given if given.keyword.endswith("Storage") else SecondaryCaptureImageStorage


def _written(bare: Dataset, storage: UID, syntax: UID) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = bare.SOPClassUID = storage
    meta.MediaStorageSOPInstanceUID = bare.SOPInstanceUID = UID("2.25.1")
    digest = hashlib.sha256(_encoded(bare, meta)).digest()
    derived = UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")  # DICOM PS3.5, B.2
    meta.MediaStorageSOPInstanceUID = bare.SOPInstanceUID = derived
    return _encoded(bare, meta)


def _encoded(bare: Dataset, meta: FileMetaDataset) -> bytes:
    content = io.BytesIO()
    bare.file_meta = meta
    dcmwrite(content, bare, enforce_file_format=True)
    return content.getvalue()
