"""Small images in every container, made for the tests."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

Grey = NDArray[np.uint8]


def picture(seed: int = 0, height: int = 90, width: int = 120) -> Grey:
    """Smooth shades with a little noise, uint8 [height, width]; every seed another one."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    a, b, c = rng.uniform(1, 6, 3)
    shade = 128 + 70 * np.sin(a * x + c) * np.cos(b * y) + 30 * np.sin(20 * x)
    return (shade + rng.normal(0, 3, (height, width))).clip(1, 254).round().astype(np.uint8)


def encode(pixels: NDArray[Any] | Image.Image, container: str, **options: Any) -> bytes:
    """The bytes that Pillow writes."""
    content = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(content, container, **options)
    return content.getvalue()


def jpeg(pixels: NDArray[Any] | Image.Image, **options: Any) -> bytes:
    return encode(pixels, "JPEG", quality=95, **options)


def png(pixels: NDArray[Any] | Image.Image, **options: Any) -> bytes:
    return encode(pixels, "PNG", **options)


def dicom(stored: NDArray[Any], syntax: UID = ExplicitVRLittleEndian, **elements: Any) -> bytes:
    """A DICOM image of integer values [H, W] (or [frames, H, W]); elements overwrite, and None removes."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = syntax
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = ComputedRadiographyImageStorage
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = UID("1.2.3.4")
    image.Rows, image.Columns = stored.shape[-2:]
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 8 * stored.dtype.itemsize
    image.HighBit = image.BitsStored - 1
    image.PixelRepresentation = int(stored.dtype.kind == "i")
    image.PixelData = _pixel_data(stored, syntax)
    image["PixelData"].VR = "OW"
    image["PixelData"].is_undefined_length = syntax.is_encapsulated
    if syntax == RLELossless:
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.PixelData = stored.tobytes()
        image["PixelData"].is_undefined_length = False
        image.compress(RLELossless)
    for name, value in elements.items():
        _set(image, name, value)
    content = io.BytesIO()
    image.save_as(content, enforce_file_format=True)
    return content.getvalue()


def _set(image: Dataset, name: str, value: Any) -> None:
    if value is None:
        del image[name]
    elif isinstance(value, DataElement):  # one with another type than the dictionary's
        image.add(value)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # pydicom's, of values that the standard does not know
            setattr(image, name, value)


def _pixel_data(stored: NDArray[Any], syntax: UID) -> bytes:
    if syntax == JPEGBaseline8Bit:
        return encapsulate([jpeg(stored)])
    if syntax == JPEG2000Lossless:
        return encapsulate([encode(stored, "JPEG2000", no_jp2=True)])
    return encapsulate([stored.tobytes()]) if syntax.is_encapsulated else stored.tobytes()


def published(root: Path, patients: int = 6) -> Path:
    """A small set in the published layout, one image a patient, in train, val and test; returns the root."""
    seed = 0
    for folder, count in (("train", patients), ("val", 1), ("test", 2)):
        for label in ("NORMAL", "PNEUMONIA"):
            place = root / folder / label
            place.mkdir(parents=True)
            for _ in range(count):
                seed += 1
                name = (
                    f"IM-{seed:04d}-0001"
                    if label == "NORMAL"
                    else f"person{seed}_{('virus', 'bacteria')[seed % 2]}_{seed}"
                )
                (place / f"{name}.jpeg").write_bytes(jpeg(picture(seed)))
    return root


GREY = picture()
COLOUR = Image.fromarray(GREY).convert("RGB")
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
