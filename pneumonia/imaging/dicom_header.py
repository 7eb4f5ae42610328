"""Read what a DICOM file's header says about its image, without its pixels."""

from __future__ import annotations

from pneumonia.imaging.dicom_attributes import ATTRIBUTES, read_attributes
from pneumonia.imaging.dicom_file import parse
from pneumonia.imaging.refusal import DicomAttributes, Refusal, decoding


def read_header(content: bytes) -> DicomAttributes | None:
    """Return the attributes of a DICOM file's content; None where it cannot be read, which its image says too."""
    try:
        with decoding("DICOM"):
            return read_attributes(parse(content, ATTRIBUTES))
    except Refusal:
        return None
