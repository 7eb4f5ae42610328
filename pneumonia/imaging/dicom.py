"""Decode DICOM images to 8-bit grey, with a viewer's default display transformations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from pneumonia.imaging.dicom_attributes import read_attributes
from pneumonia.imaging.dicom_elements import text
from pneumonia.imaging.dicom_file import parse
from pneumonia.imaging.dicom_pixels import read_samples
from pneumonia.imaging.grayscale import Cells, display
from pneumonia.imaging.refusal import FETCH_AGAIN, MAX_PIXELS, Decoded, Refusal, check_size, decoding, is_phantom

_NEEDED = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation")
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_ROWS = 128
_ORIGINAL = "give the original MONOCHROME image"

GREY_TOLERANCE = 8
"""Grey levels that a pixel's channels may differ by in a grey image that is stored in colour; JPEG makes such."""

COLOURED = 1e-3
"""Share of the pixels that may differ by more, such as a coloured label."""


def decode_dicom(content: bytes, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Decode a DICOM image: modality LUT or rescale, VOI LUT or window, presentation LUT shape, padding black, 8 bits.

    docs/imaging.md lists the clauses of the standard. Without a VOI LUT or window, images of 8 stored bits are shown
    over their full range and deeper images over the range of their values. Overlays and the pixels' aspect ratio are
    ignored. An image in colour is read where its channels are equal.

    Raises:
        Refusal: the image cannot be read, or not be shown as its writer meant it.
    """
    with decoding("DICOM"):
        dataset = parse(content)
        kind = _check(dataset, max_pixels)
        samples, filled = read_samples(dataset)
        if kind in _GREY:
            shown, notes = display(dataset, Cells(samples, filled))
        else:
            shown, notes = _grey(dataset, samples, kind), ()
        return Decoded(
            Image.fromarray(shown),
            width=int(dataset.Columns),
            height=int(dataset.Rows),
            encoding=f"dicom;{dataset.file_meta.TransferSyntaxUID};{dataset.BitsStored};{kind}",
            phantom=is_phantom(dataset.get("ImageComments")),
            notes=notes,
            attributes=read_attributes(dataset),
        )


def read_patient_id(content: bytes) -> str:
    """Return the PatientID of a DICOM file's header; see `read_identifiers`."""
    return _identifiers(content, ("PatientID",))[0]


def read_identifiers(content: bytes) -> tuple[str, str]:
    """Return PatientID and StudyInstanceUID of a DICOM file's header, each empty where it is missing.

    They identify a person: the caller replaces them by pseudonyms and stores them nowhere. A file that cannot be read,
    like its image, has none.
    """
    patient, study = _identifiers(content, ("PatientID", "StudyInstanceUID"))
    return patient, study


def _identifiers(content: bytes, names: tuple[str, ...]) -> list[str]:
    try:
        with decoding("DICOM"):
            header = parse(content, names)
            return [str(header.get(name) or "").strip() for name in names]
    except Refusal:
        return [""] * len(names)


def _check(dataset: Dataset, max_pixels: int) -> str:
    """Refuse what the decoder would misread, before decoding; return the photometric interpretation."""
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise Refusal("is a DICOM file of floating-point pixels", "give the original 8- or 16-bit image")
    if "PixelData" not in dataset:
        raise Refusal("is a DICOM file without pixel data, or cut off before it", "give the image object of the study")
    if not dataset["PixelData"].value:
        raise Refusal("is a DICOM file whose pixel data are empty", FETCH_AGAIN)
    missing = [name for name in _NEEDED if not isinstance(dataset.get(name), int)]
    if missing:
        raise Refusal(f"is a damaged DICOM file ({', '.join(missing)} missing or not a number)", FETCH_AGAIN)
    check_size(int(dataset.Columns), int(dataset.Rows), max_pixels)
    kind = text(dataset, "PhotometricInterpretation")
    if not kind:
        raise Refusal("is a DICOM file that does not say whether its lowest value is black or white", _ORIGINAL)
    if (kind, dataset.SamplesPerPixel) not in {*((grey, 1) for grey in _GREY), *((colour, 3) for colour in _COLOURS)}:
        raise Refusal(f"is a DICOM file of {kind[:16]} pixels with {dataset.SamplesPerPixel} samples", _ORIGINAL)
    if kind == "YBR_FULL_422" and not _is_jpeg(dataset):
        raise Refusal("is a DICOM file of YBR_FULL_422 pixels without JPEG", _ORIGINAL)
    _check_frames(dataset)
    if dataset.BitsAllocated not in (8, 16) or (kind not in _GREY and dataset.BitsAllocated != 8):
        raise Refusal(
            f"is a DICOM file with {dataset.BitsAllocated}-bit samples of {kind}", "give an 8- or 16-bit image"
        )
    return kind


def _check_frames(dataset: Dataset) -> None:
    value = dataset.get("NumberOfFrames")
    if value is not None and value != "" and not isinstance(value, int):
        raise Refusal("is a damaged DICOM file (its NumberOfFrames is not a number)", FETCH_AGAIN)
    if int(value or 1) != 1:
        raise Refusal(f"is a DICOM file with {value} frames", "give a single-frame radiograph")


def _grey(dataset: Dataset, samples: NDArray[np.unsignedinteger], kind: str) -> NDArray[np.uint8]:
    """Convert colours uint8 [H, W, 3] to grey [H, W], some rows at a time; refuse where they are colours."""
    full = kind == "YBR_FULL" and not _is_jpeg(dataset)  # what was a JPEG is RGB
    grey, coloured = np.empty(samples.shape[:2], dtype=np.uint8), 0
    for start in range(0, len(samples), _ROWS):
        rows = np.ascontiguousarray(samples[start : start + _ROWS])
        size = (rows.shape[1], rows.shape[0])
        image = Image.frombytes("YCbCr" if full else "RGB", size, rows.tobytes()).convert("RGB")
        channels = np.asarray(image)
        coloured += int((channels.max(axis=2) - channels.min(axis=2) > GREY_TOLERANCE).sum())
        grey[start : start + _ROWS] = np.asarray(image.convert("L"))
    if coloured > COLOURED * grey.size:
        raise Refusal(f"is a DICOM file in colour ({kind})", _ORIGINAL, "not_a_radiograph")
    return grey


def _is_jpeg(dataset: Dataset) -> bool:
    return (
        bool(dataset.file_meta.TransferSyntaxUID.is_encapsulated) and "JPEG" in dataset.file_meta.TransferSyntaxUID.name
    )
