"""What a DICOM file says about itself refuses it, and what it does not say refuses nothing."""

from __future__ import annotations

import pytest

from pneumonia.imaging.refusal import DicomAttributes
from pneumonia.inference.attribute_check import is_mirrored, refuse

CT = "1.2.840.10008.5.1.4.1.1.2"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        (DicomAttributes(), None),
        (DicomAttributes(CAPTURE, "OT"), None),
        (DicomAttributes(CAPTURE, "SC", "CHEST"), None),
        (DicomAttributes("", "CR", "CHEST", "PA", ("L", "F"), 3.0), None),
        (DicomAttributes("", "DX", "THORAX", "AP"), None),
        (DicomAttributes("", "DX", "STRUCTURE OF CHEST", "POSTERO-ANTERIOR"), None),
        (DicomAttributes("", "CR", "UNKNOWN", "AP SUPINE"), None),
        (DicomAttributes("", "CT", "CHEST"), "modality"),
        (DicomAttributes("", "MR"), "modality"),
        (DicomAttributes("", "MG", "BREAST"), "modality"),
        (DicomAttributes(CT), "modality"),
        (DicomAttributes("", "CR", "HAND", "PA"), "body_part"),
        (DicomAttributes("", "DX", "ABDOMEN"), "body_part"),
        (DicomAttributes("", "DX", "SKULL", "LL"), "body_part"),
        (DicomAttributes("", "CR", "CHEST", "LATERAL"), "view"),
        (DicomAttributes("", "CR", "CHEST", "LL"), "view"),
        (DicomAttributes("", "CR", "CHEST", "RL"), "view"),
        (DicomAttributes("", "CR", "CHEST", "RLD"), "view"),
        (DicomAttributes("", "DX", "", "LEFT LATERAL"), "view"),
        (DicomAttributes("", "DX", "CHEST", "", ("A", "F")), "view"),
        (DicomAttributes("", "DX", "CHEST", "PA", ("A", "F")), None),
    ],
)
def test_what_a_file_says(attributes: DicomAttributes, code: str | None) -> None:
    found = refuse(attributes)
    assert (found.code if found else None) == code
    if found:
        assert found.reason.startswith("is a DICOM image")
        assert found.remedy


def test_a_picture_seen_from_behind() -> None:
    assert is_mirrored(DicomAttributes(orientation=("R", "F")))
    assert not is_mirrored(DicomAttributes(orientation=("L", "F")))
    assert not is_mirrored(DicomAttributes())
