"""Parse DICOM files: only the elements that an image is shown by, within bounds on memory."""

from __future__ import annotations

import io
import logging
import warnings
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from pneumonia.imaging.dicom_attributes import ATTRIBUTES
from pneumonia.imaging.refusal import FETCH_AGAIN, MAX_PIXELS, Refusal

# pydicom logs a damaged file and raises; the refusal reports it once, with the file's name.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module="pydicom")

MAX_INFLATED = 2 * MAX_PIXELS + 2**24  # bytes: the largest image of two bytes a pixel, and 16 MiB of header
MAX_READS = 250_000  # elements and items; radiographs have some hundred, and each takes a kilobyte of memory
MAX_VALUE = 2**16  # bytes of one element that is neither pixels nor a table
MAX_TABLES = 2**21  # bytes of a sequence, such as of lookup tables; one has at most 131,072

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_TABLES = ("ModalityLUTSequence", "VOILUTSequence", "SharedFunctionalGroupsSequence")
_HEADER = (
    "PatientID", "ImageComments", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration",
    "NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth",
    "VOILUTFunction", "PresentationLUTShape", *ATTRIBUTES,
)  # fmt: skip
_SIGNATURE = slice(128, 132)
_PIECE = 2**16  # bytes that are inflated at a time, to a thousand times as much at most


class _Counted(io.BytesIO):
    """Bytes that may be read a limited number of times, since every element and item that is parsed takes memory."""

    _left = MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        self.check()
        return super().read(size)

    def check(self) -> None:
        """Refuse a file of which too much was read."""
        if self._left < 0:
            raise Refusal(f"is a DICOM file of more than {MAX_READS:,} elements (a bomb?)", "remove it")


def parse(content: bytes, names: Sequence[str] = (*_HEADER, *_TABLES, *_PIXELS)) -> Dataset:
    """Return the elements that an image is shown by, with ``file_meta``; private elements and others are skipped.

    Files without a preamble are read too, and data sets without meta information as little endian.

    Raises:
        Refusal: no transfer syntax; an element that is cut off or too large; too many elements; a deflated data set
            that inflates to more than `MAX_INFLATED` or is cut off.
    """
    meta, file = _meta(content)
    syntax: UID | None = meta.get("TransferSyntaxUID")
    if not isinstance(syntax, UID) or not syntax:
        raise Refusal("is a damaged DICOM file (it names no transfer syntax)", FETCH_AGAIN)
    if syntax == DeflatedExplicitVRLittleEndian:
        file = _inflate(file.getbuffer()[file.tell() :])
    tags: list[BaseTag | int] = [Tag(name) for name in names]
    try:
        dataset = read_dataset(
            file,
            syntax == ImplicitVRLittleEndian,
            syntax != ExplicitVRBigEndian,
            stop_when=_behind(Tag("PixelData")),
            specific_tags=tags,
        )
    except OSError:  # pydicom's, in place of what was raised while it read an item's tag
        file.check()
        raise
    dataset.file_meta = meta
    _check_lengths(dataset, names)
    return dataset


def _meta(content: bytes) -> tuple[FileMetaDataset, _Counted]:
    """Return the file's meta information (DICOM PS3.10, 7.1), and the file at the end of it."""
    start = 132 if content[_SIGNATURE] == b"DICM" else 0
    file = _Counted(content)
    file.seek(start)
    meta = FileMetaDataset(read_dataset(file, False, True, stop_when=_after_meta))
    if not meta and not start:  # a bare data set, whose first element shows whether it names its types
        explicit = content[4:6].isalpha()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian if explicit else ImplicitVRLittleEndian
    return meta, file


def _after_meta(tag: BaseTag, _type: str | None, _length: int) -> bool:
    return tag.group != 2


def _behind(last: BaseTag) -> Callable[[BaseTag, str | None, int], bool]:
    """Return a condition that is met at the first element after one, whatever it is: files are filled up behind it."""
    seen = [False]

    def condition(tag: BaseTag, _type: str | None, _length: int) -> bool:
        met, seen[0] = seen[0], tag == last
        return met

    return condition


def _inflate(body: memoryview) -> _Counted:
    """Inflate a data set piece by piece, and stop at `MAX_INFLATED` (DICOM PS3.5, A.5)."""
    inflater, file = zlib.decompressobj(-zlib.MAX_WBITS), _Counted()
    for start in range(0, len(body), _PIECE):
        try:
            file.write(inflater.decompress(body[start : start + _PIECE], MAX_INFLATED + 1 - file.tell()))
        except zlib.error as error:
            raise Refusal("is a damaged DICOM file (it cannot be inflated)", FETCH_AGAIN) from error
        if file.tell() > MAX_INFLATED:
            limit = f"{MAX_INFLATED / 2**20:.0f} MiB"
            raise Refusal(f"is a DICOM file that inflates to more than {limit} (a decompression bomb?)", "remove it")
    if not inflater.eof:
        raise Refusal("is a damaged DICOM file (it is cut off)", FETCH_AGAIN)
    file.seek(0)
    return file


def _check_lengths(dataset: Dataset, names: Sequence[str]) -> None:
    """Refuse elements that are cut off, or larger than what they hold can be, before they are converted."""
    for name in names:
        element: Any = dataset.get_item(name)
        if not isinstance(element, RawDataElement) or element.value is None:
            continue
        held = len(element.value)
        if element.length != 0xFFFFFFFF and held < element.length:
            detail = f"it is cut off in its {name}, {held:,} of {element.length:,} bytes"
            raise Refusal(f"is a damaged DICOM file ({detail})", FETCH_AGAIN)
        limit = MAX_TABLES if name in _TABLES else MAX_VALUE
        if name not in _PIXELS and held > limit:
            raise Refusal(
                f"is a DICOM file with {held:,} bytes of {name}, more than the limit of {limit:,}", "remove it"
            )
