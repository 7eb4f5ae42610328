"""Decode DICOM Part 10 files to 8-bit grey, with a viewer's default display transformations."""

from __future__ import annotations

import io
import logging
import warnings
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut, apply_voi
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from pneumonia.imaging.refusal import FETCH_AGAIN, Decoded, Refusal, check_size, decoding, is_phantom

Stored = NDArray[np.integer[Any]]
Reals = NDArray[np.float32]

DECOMPRESS = "decompress it to Explicit VR Little Endian (gdcmconv --raw, or dcmdjpeg)"
_NEEDED = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation")
# pydicom logs a damaged file and raises; the refusal reports it once, with the file's name.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module="pydicom")

_END_OF_FRAME = b"\xff\xd9"  # of JPEG (ITU-T T.81) and JPEG 2000 (T.800) alike
_META_WITHIN = 4096  # bytes; the file's meta information comes first


def decode_dicom(content: bytes) -> Decoded:
    """Decode a DICOM image: modality LUT or rescale, then VOI LUT or first window, MONOCHROME1 inverted, 8 bits.

    The order is that of the grayscale transformations in DICOM PS3.4, N.2. Without a VOI LUT or window, images of 8
    stored bits are shown over their full range and deeper images over the range of their values. Padding is black.
    Overlays and the pixels' aspect ratio are ignored.
    """
    with decoding("DICOM"):
        # The parser would inflate it without a limit.
        if DeflatedExplicitVRLittleEndian.encode() in content[:_META_WITHIN]:
            raise _undecodable(DeflatedExplicitVRLittleEndian)
        dataset = pydicom.dcmread(io.BytesIO(content))
        syntax = _check(dataset)
        stored = dataset.pixel_array
        if stored.shape != (dataset.Rows, dataset.Columns):
            raise Refusal("is a damaged DICOM file (its pixels do not have the declared size)", FETCH_AGAIN)
        shown = _display(dataset, stored)
        return Decoded(
            Image.fromarray(shown),
            width=int(dataset.Columns),
            height=int(dataset.Rows),
            encoding=f"dicom;{syntax};{dataset.BitsStored};{dataset.PhotometricInterpretation}",
            phantom=is_phantom(dataset.get("ImageComments")),
        )


def read_patient_id(content: bytes) -> str:
    """Return the PatientID of a DICOM file's header, empty where it has none.

    It identifies a person: the caller replaces it by a pseudonym and stores it nowhere.
    """
    dataset = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True, specific_tags=["PatientID"])
    return str(dataset.get("PatientID") or "").strip()


def _check(dataset: FileDataset) -> UID:
    """Refuse what the decoder would fail on or misread, before decoding; return the transfer syntax."""
    syntax: UID | None = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        raise Refusal("is a damaged DICOM file (it names no transfer syntax)", FETCH_AGAIN)
    if "PixelData" not in dataset:
        raise Refusal("is a DICOM file without pixel data, or cut off before it", "give the image object of the study")
    missing = [name for name in _NEEDED if dataset.get(name) is None]
    if missing:
        raise Refusal(f"is a damaged DICOM file ({', '.join(missing)} missing)", FETCH_AGAIN)
    kind = dataset.get("PhotometricInterpretation")
    if kind not in ("MONOCHROME1", "MONOCHROME2") or dataset.SamplesPerPixel != 1:
        raise Refusal(f"is a DICOM file with {kind} pixels, not a grey image", "give the original MONOCHROME image")
    if int(dataset.get("NumberOfFrames") or 1) != 1:
        raise Refusal(f"is a DICOM file with {dataset.NumberOfFrames} frames", "give a single-frame radiograph")
    if dataset.BitsAllocated not in (8, 16):
        raise Refusal(f"is a DICOM file with {dataset.BitsAllocated} bits a pixel", "give an 8- or 16-bit image")
    check_size(int(dataset.Columns), int(dataset.Rows))
    _check_syntax(dataset, syntax)
    return syntax


def _check_syntax(dataset: FileDataset, syntax: UID) -> None:
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise _undecodable(syntax)
    if syntax.is_encapsulated and "JPEG" in syntax.name:
        _check_frame(get_frame(dataset.PixelData, 0, number_of_frames=1), (dataset.Columns, dataset.Rows))


def _check_frame(content: bytes, size: tuple[int, int]) -> None:
    """Refuse a compressed frame whose own header declares another size, or whose end is missing."""
    with Image.open(io.BytesIO(content)) as frame:
        if frame.size != size:
            raise Refusal("is a damaged DICOM file (its frame does not have the declared size)", FETCH_AGAIN)
    if not content.rstrip(b"\0").endswith(_END_OF_FRAME):
        raise Refusal("is a damaged DICOM file (its frame is truncated)", FETCH_AGAIN)


def _undecodable(syntax: UID) -> Refusal:
    return Refusal(f"is a DICOM file in a transfer syntax that is not read, {syntax} ({syntax.name})", DECOMPRESS)


def _display(dataset: FileDataset, stored: Stored) -> NDArray[np.uint8]:
    """Convert stored values [H,W] to display values uint8 [H,W]: `_unit`, the inversion, padding black."""
    padding = _padding(dataset, stored)
    unit = _unit(dataset, stored, ~padding)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        unit = 1 - unit
    unit[padding] = 0
    return np.rint(np.clip(unit, 0, 1) * 255).astype(np.uint8)


def _padding(dataset: FileDataset, stored: Stored) -> NDArray[np.bool_]:
    """Return the mask of padding pixels, bool [H,W] (DICOM PS3.3, C.7.5.1.1.2)."""
    first = dataset.get("PixelPaddingValue")
    if first is None:
        return np.zeros(stored.shape, dtype=bool)
    last = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((int(first), int(first if last is None else last)))
    return np.asarray((stored >= low) & (stored <= high))


def _unit(dataset: FileDataset, stored: Stored, inside: NDArray[np.bool_]) -> Reals:
    """Transform stored values [H,W] by modality and VOI to 0 (darkest) .. 1, not yet clipped."""
    values = apply_modality_lut(stored, dataset)
    if dataset.get("VOILUTSequence"):
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        return np.asarray(apply_voi(values, dataset), dtype=np.float32) / np.float32(2**bits - 1)
    if dataset.get("WindowCenter") not in (None, "") and dataset.get("WindowWidth") not in (None, ""):
        return _window(dataset, np.asarray(values, dtype=np.float32))
    shown = values[inside] if inside.any() else values
    if dataset.BitsStored == 8 and dataset.PixelRepresentation == 0:
        shown = apply_modality_lut(np.array([0, 255], dtype=np.uint8), dataset)
    low, high = float(shown.min()), float(shown.max())
    return (np.asarray(values, dtype=np.float32) - np.float32(low)) / np.float32(max(high - low, 1e-6))


def _window(dataset: FileDataset, values: Reals) -> Reals:
    """Apply the first window, onto 0..1, with its function in DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3."""
    center = float(np.atleast_1d(dataset.WindowCenter)[0])
    width = float(np.atleast_1d(dataset.WindowWidth)[0])
    function = str(dataset.get("VOILUTFunction") or "LINEAR")
    if width <= 0 or (function == "LINEAR" and width < 1):
        raise Refusal(f"has a window {width:g} wide, which shows nothing", "export it again with a valid window")
    if function == "SIGMOID":
        exponent = -4 * (values - np.float32(center)) / np.float32(width)
        return np.asarray(1 / (1 + np.exp(exponent.clip(-80, 80))), dtype=np.float32)
    if function == "LINEAR":
        center, width = center - 0.5, max(width - 1, 1e-6)
    return (values - np.float32(center)) / np.float32(width) + np.float32(0.5)
