"""DICOM: from a Part 10 file to 8-bit grey as a viewer would show it at first."""

from __future__ import annotations

import io

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset
from pydicom.pixels import apply_modality_lut, apply_voi
from pydicom.uid import UID

from pneumonia.data._raster import FETCH_AGAIN, PHANTOM_COMMENT, Decoded, Refusal, check_size

DECOMPRESS = "decompress it to Explicit VR Little Endian (gdcmconv --raw or dcmdjpeg)"


def is_dicom(content: bytes) -> bool:
    """Whether the bytes carry the prefix of a DICOM Part 10 file."""
    return content[128:132] == b"DICM"


def decode_dicom(content: bytes) -> Decoded:
    """Decode a DICOM film: modality LUT or rescale, VOI LUT or window, MONOCHROME1 inverted, 8 bits.

    The order of the transformations is that of DICOM PS3.3 (C.11.1, C.11.2) and PS3.4 (N.2).
    """
    dataset = _read(content)
    syntax = _check(dataset)
    try:
        stored = dataset.pixel_array
    except (NotImplementedError, RuntimeError) as error:
        raise Refusal(f"its transfer syntax {syntax} ({UID(syntax).name}) cannot be decoded", DECOMPRESS) from error
    except Exception as error:  # a decoder may raise anything on damaged bytes
        raise Refusal(f"is a truncated or damaged DICOM file ({error})", FETCH_AGAIN) from error
    shown = _display(dataset, stored)
    kind = str(dataset.PhotometricInterpretation)
    if kind == "MONOCHROME1":
        shown = 255 - shown
    return Decoded(
        Image.fromarray(np.ascontiguousarray(shown)),
        width=int(dataset.Columns),
        height=int(dataset.Rows),
        encoding=f"dicom;{syntax};{dataset.BitsStored};{kind}",
        phantom=str(dataset.get("ImageComments", "")).startswith(PHANTOM_COMMENT),
    )


def _read(content: bytes) -> FileDataset:
    try:
        return pydicom.dcmread(io.BytesIO(content))
    except Exception as error:  # the parser may raise anything on damaged bytes
        raise Refusal(f"is a truncated or damaged DICOM file ({error})", FETCH_AGAIN) from error


def _check(dataset: FileDataset) -> str:
    """Refuse what the decoder would fail on or misread; return the transfer syntax."""
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        raise Refusal("is a damaged DICOM file (it names no transfer syntax)", FETCH_AGAIN)
    if "PixelData" not in dataset:
        raise Refusal("is a DICOM file without pixel data", "give the image object of the study, not a report")
    missing = [
        name
        for name in ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation")
        if dataset.get(name) is None
    ]
    if missing:
        raise Refusal(f"is a damaged DICOM file ({', '.join(missing)} missing)", FETCH_AGAIN)
    kind = dataset.get("PhotometricInterpretation")
    if kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise Refusal(f"is a DICOM file with {kind} pixels, not a grey film", "give the original MONOCHROME image")
    if int(dataset.get("NumberOfFrames") or 1) != 1:
        raise Refusal(f"is a DICOM file with {dataset.NumberOfFrames} frames", "give a single-frame radiograph")
    check_size(int(dataset.Columns), int(dataset.Rows))
    return str(syntax)


def _display(dataset: FileDataset, stored: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Stored values [H,W] to display values uint8 [H,W]."""
    try:
        values = apply_modality_lut(stored, dataset)
        if dataset.get("VOILUTSequence"):
            bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
            unit = apply_voi(values, dataset).astype(np.float64) / (2**bits - 1)
        elif dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None:
            unit = _window(dataset, values.astype(np.float64))
        elif stored.dtype == np.uint8 and values is stored:
            return stored
        else:
            low, high = float(values.min()), float(values.max())
            unit = (values.astype(np.float64) - low) / max(high - low, 1.0)
    except Exception as error:  # the tables come from the file
        raise Refusal(f"has a lookup table or window that cannot be applied ({error})", FETCH_AGAIN) from error
    return np.rint(np.clip(unit, 0, 1) * 255).astype(np.uint8)


def _window(dataset: FileDataset, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The first window's functions of DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3, onto 0..1."""
    center = float(np.atleast_1d(dataset.WindowCenter)[0])
    width = float(np.atleast_1d(dataset.WindowWidth)[0])
    function = str(dataset.get("VOILUTFunction") or "LINEAR")
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(-4 * (values - center) / width)))
    if function == "LINEAR_EXACT":
        return (values - center) / width + 0.5
    return (values - (center - 0.5)) / max(width - 1, 1e-9) + 0.5
