"""What a DICOM file says about its image comes along with it, and codes say why a file is refused."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from pneumonia.config.schema import PreprocessConfig
from pneumonia.imaging.radiograph import UnreadableRadiograph, read_bytes
from pneumonia.imaging.refusal import DicomAttributes
from tests.support.images import dicom, jpeg, picture, png

SIZE = PreprocessConfig(size=64)
GREY = picture()


def attributes(**elements: object) -> DicomAttributes:
    found = read_bytes(dicom(GREY, **elements), SIZE).attributes
    assert found is not None
    return found


def coded(meaning: str) -> list[Dataset]:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "SCT", meaning
    return [code]


def test_a_files_attributes_come_along() -> None:
    found = attributes(
        Modality="DX", BodyPartExamined="chest ", ViewPosition="PA", PatientAge="004Y", PatientOrientation=["L", "F"]
    )
    assert found == DicomAttributes("1.2.840.10008.5.1.4.1.1.1", "DX", "CHEST", "PA", ("L", "F"), 4.0)


def test_codes_stand_in_for_missing_words() -> None:
    found = attributes(AnatomicRegionSequence=coded("Chest"), ViewCodeSequence=coded("postero-anterior"))
    assert (found.body_part, found.view) == ("CHEST", "POSTERO-ANTERIOR")


@pytest.mark.parametrize(
    ("written", "years"),
    [("018M", 1.5), ("030Y", 30), ("062", 62), ("010D", 10 / 365.25), ("26W", 26 * 7 / 365.25), ("", None)],
)
def test_ages(written: str, years: float | None) -> None:
    found = attributes(PatientAge=written).age
    assert found == (None if years is None else pytest.approx(years))


def test_nothing_that_identifies_a_person_comes_along() -> None:
    names = {
        "PatientName": "Doe^Jane",
        "PatientID": "4711",
        "PatientBirthDate": "20200101",
        "InstitutionName": "Clinic",
    }
    said = repr(read_bytes(dicom(GREY, **names), SIZE))
    assert not [value for value in names.values() if value in said]


def test_other_files_have_none() -> None:
    assert read_bytes(png(GREY), SIZE).attributes is None


def code(content: bytes) -> str:
    with pytest.raises(UnreadableRadiograph) as refused:
        read_bytes(content, SIZE)
    return refused.value.code


def test_codes_of_refusals() -> None:
    assert code(b"GIF89a") == "unreadable"
    assert code(png(picture(0, 20, 20))) == "too_small"
    assert code(png(np.full((90, 90), 9, np.uint8))) == "blank"
    bomb = bytearray(png(GREY))
    bomb[16:24] = (20_000).to_bytes(4, "big") * 2
    with pytest.raises(UnreadableRadiograph):
        read_bytes(bytes(bomb), SIZE)
    large = bytearray(jpeg(GREY))
    at = large.index(b"\xff\xc0") + 5
    large[at : at + 4] = (20_000).to_bytes(2, "big") * 2
    assert code(bytes(large)) == "too_large"
    colours = np.stack([GREY, GREY // 2, GREY // 3], axis=-1)
    rgb = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    assert code(dicom(GREY, PixelData=colours.tobytes(), **rgb)) == "not_a_radiograph"
