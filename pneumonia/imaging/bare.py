"""Reduce a radiograph's file to its picture: what identifies people, places or devices is left out."""

from __future__ import annotations

from typing import Literal

from pneumonia.imaging.bare_raster import bare_jpeg_file, bare_png_file
from pneumonia.imaging.radiograph import is_dicom
from pneumonia.imaging.raster import JPEG_MAGIC, PNG_MAGIC
from pneumonia.imaging.refusal import AS_GREY, Refusal

Suffix = Literal["jpeg", "png", "dcm"]


def reduce_to_picture(content: bytes) -> tuple[bytes, Suffix]:
    """Return a file of the same pixels with a short list of metadata, and the suffix of its kind.

    JPEG and PNG lose everything but the picture, an orientation other than upright and the comment that declares a
    phantom; they are not encoded again, so that quantisation and pixels are the same. DICOM: see
    `pneumonia.imaging.bare_dicom`. What is burnt into the pixels stays.

    Raises:
        Refusal: it is no such file, or damaged.
    """
    if content.startswith(JPEG_MAGIC):
        return bare_jpeg_file(content), "jpeg"
    if content.startswith(PNG_MAGIC):
        return bare_png_file(content), "png"
    if is_dicom(content):
        from pneumonia.imaging.bare_dicom import bare_dicom_file  # half a second that JPEG sets do not need

        return bare_dicom_file(content), "dcm"
    raise Refusal("is no JPEG, PNG or DICOM file", AS_GREY)
