"""The grey values of DICOM images, against the standard's formulas and pydicom's own display functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from pneumonia.config.schema import PreprocessConfig
from pneumonia.imaging.dicom import read_patient_id
from pneumonia.imaging.radiograph import DICOM_WITHIN, UnreadableRadiograph, is_dicom, read_bytes
from tests.support.images import dicom, picture

SIDE = 64
CONFIG = PreprocessConfig(size=SIDE)  # the images have this size, so that nothing is resampled
DEEP = (np.arange(SIDE * SIDE).reshape(SIDE, SIDE) % 4096).astype(np.uint16)
SIGNED = (DEEP.astype(np.int32) - 2048).astype(np.int16)
TWELVE = {"BitsStored": 12, "HighBit": 11}


def shown(stored: NDArray[Any], **elements: Any) -> NDArray[np.uint8]:
    return read_bytes(dicom(stored, **elements), CONFIG).pixels


def full_range(stored: NDArray[Any]) -> NDArray[np.float64]:
    return (stored.astype(float) - stored.min()) / (float(stored.max()) - stored.min()) * 255


@pytest.mark.parametrize("stored", [DEEP, SIGNED], ids=["unsigned", "signed"])
def test_deep_images_without_a_window_show_the_values_present(stored: NDArray[Any]) -> None:
    np.testing.assert_allclose(shown(stored), full_range(stored), atol=0.51)


def test_eight_bits_without_a_window_are_shown_as_they_are() -> None:
    grey = picture(height=SIDE, width=SIDE) // 2 + 20
    np.testing.assert_array_equal(shown(grey), grey)
    np.testing.assert_array_equal(shown(grey, RescaleSlope=2, RescaleIntercept=-100), grey)


def test_monochrome1_is_inverted() -> None:
    grey = picture(height=SIDE, width=SIDE)
    np.testing.assert_array_equal(shown(grey, PhotometricInterpretation="MONOCHROME1"), 255 - grey)


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("rescale", [{}, {"RescaleSlope": 0.5, "RescaleIntercept": -300}], ids=["plain", "rescaled"])
@pytest.mark.parametrize("stored", [DEEP, SIGNED], ids=["unsigned", "signed"])
def test_windows_are_those_of_pydicom(function: str | None, rescale: dict[str, float], stored: NDArray[Any]) -> None:
    elements: dict[str, Any] = {"WindowCenter": [300, 9], "WindowWidth": [700, 9], **rescale}
    if function:
        elements["VOILUTFunction"] = function
    dataset = dcmread(DicomBytesIO(dicom(stored, **TWELVE, **elements)))
    windowed = apply_voi_lut(apply_modality_lut(stored, dataset), dataset)
    slope, intercept = rescale.get("RescaleSlope", 1), rescale.get("RescaleIntercept", 0)
    lowest = (0 if stored.dtype.kind == "u" else -2048) * slope + intercept
    reference = (windowed - lowest) / (4095 * slope) * 255
    np.testing.assert_allclose(shown(stored, **TWELVE, **elements), reference, atol=0.51)


def test_a_lookup_table_goes_before_a_window() -> None:
    table = Dataset()
    table.LUTDescriptor = [256, 1000, 10]
    table.add_new("LUTData", "US", [(1023 * (255 - step)) // 255 for step in range(256)])
    pixels = shown(DEEP, VOILUTSequence=[table], WindowCenter=5, WindowWidth=5)
    entry = np.clip(DEEP.astype(int) - 1000, 0, 255)
    np.testing.assert_allclose(pixels, 255.0 - entry, atol=0.8)


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_sets_no_range(kind: str) -> None:
    image = SIGNED.copy()
    inside = np.ones_like(image, dtype=bool)
    inside[:, :9] = False
    image[~inside] = -30_000
    image[0, 0] = -29_000
    pixels = shown(image, PixelPaddingValue=-30_000, PixelPaddingRangeLimit=-29_000, PhotometricInterpretation=kind)
    assert np.all(pixels[~inside] == 0)
    expected = full_range(image[inside])
    np.testing.assert_allclose(pixels[inside], 255 - expected if kind == "MONOCHROME1" else expected, atol=0.51)


def test_nothing_but_padding_is_refused() -> None:
    with pytest.raises(UnreadableRadiograph, match="single grey level"):
        shown(np.full((SIDE, SIDE), 9, np.uint16), PixelPaddingValue=9)


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom says first that the value is no number
@pytest.mark.parametrize("elements", [{"WindowWidth": -5}, {"WindowWidth": 0.5}])
def test_unusable_windows_are_refused(elements: dict[str, Any]) -> None:
    with pytest.raises(UnreadableRadiograph):
        shown(DEEP, **{"WindowCenter": 100, "WindowWidth": 100} | elements)


def test_the_window_that_is_shown_is_named() -> None:
    content = dicom(DEEP, **TWELVE, WindowCenter=["", 0, 300], WindowWidth=["", 0, 700])
    image = read_bytes(content, CONFIG)
    assert image.notes == ("its window 3 is shown, since none before it is valid",)
    np.testing.assert_array_equal(image.pixels, shown(DEEP, **TWELVE, WindowCenter=300, WindowWidth=700))


def test_an_empty_window_is_none() -> None:
    np.testing.assert_array_equal(shown(DEEP, WindowCenter="", WindowWidth=""), shown(DEEP))


def test_files_without_a_preamble_or_meta_information() -> None:
    """Old archives store the data set alone (NEMA's files before DICOM's part 10 have no other form)."""
    grey = picture(height=SIDE, width=SIDE)
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        content = dicom(grey, syntax)
        length = 12 + int.from_bytes(content[140:144], "little")
        for cut in (content[132:], content[132 + length :]):
            assert is_dicom(cut[:DICOM_WITHIN])
            np.testing.assert_array_equal(read_bytes(cut, CONFIG).pixels, grey)
            assert read_bytes(cut, CONFIG).encoding == f"dicom;{syntax};8;MONOCHROME2"


@pytest.mark.parametrize("side", [SIDE, 33])
def test_big_endian_words_of_8_bit_pixels(side: int) -> None:
    grey = picture(height=side, width=side)
    even = np.append(grey.ravel(), np.zeros(grey.size % 2, np.uint8))
    swapped = even.reshape(-1, 2)[:, ::-1].tobytes()
    content = dicom(grey, ExplicitVRBigEndian, PixelData=swapped)
    np.testing.assert_array_equal(read_bytes(content, PreprocessConfig(size=side)).pixels, grey)


def test_a_deflated_image_of_a_detectors_size_is_read() -> None:
    large = np.zeros((3000, 3000), np.uint16)
    large[:, 1500:] = 4095
    image = read_bytes(dicom(large, DeflatedExplicitVRLittleEndian, **TWELVE), CONFIG)
    assert (image.width, image.pixels[0, 0], image.pixels[0, -1]) == (3000, 0, 255)


def test_spacing_and_overlays_are_ignored() -> None:
    overlay = {"OverlayRows": SIDE, "OverlayColumns": SIDE, "OverlayType": "G", "OverlayOrigin": [1, 1]}
    dataset = dcmread(DicomBytesIO(dicom(DEEP, **TWELVE, WindowCenter=2048, WindowWidth=4096)))
    for offset, (name, value) in zip((0x10, 0x11, 0x40, 0x50), overlay.items(), strict=True):
        dataset.add_new((0x6000, offset), {"OverlayType": "CS", "OverlayOrigin": "SS"}.get(name, "US"), value)
    dataset.add_new((0x6000, 0x3000), "OW", b"\xff" * (SIDE * SIDE // 8))
    dataset.PixelAspectRatio = [2, 1]
    dataset.ImagerPixelSpacing = [0.2, 0.1]
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, 0, "US"
    content = DicomBytesIO()
    dataset.save_as(content)
    plain = shown(DEEP, **TWELVE, WindowCenter=2048, WindowWidth=4096)
    np.testing.assert_array_equal(read_bytes(content.getvalue(), CONFIG).pixels, plain)


@pytest.mark.parametrize("stray", [-32_768, 32_767, 12_000])
@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("count", [1, 35])
def test_outliers_set_no_range(stray: int, kind: str, count: int) -> None:
    """One defective pixel, or a label of nearly a hundredth of the image, at either end."""
    image = SIGNED.copy()
    image.ravel()[7 : 7 + count] = stray
    plain = shown(SIGNED, PhotometricInterpretation=kind)
    pixels = shown(image, PhotometricInterpretation=kind)
    kept = image == SIGNED
    np.testing.assert_allclose(pixels[kept], plain[kept], atol=1)
    assert "lie far outside" in read_bytes(dicom(image), CONFIG).notes[0]


def test_a_skewed_histogram_is_no_outlier() -> None:
    """Most of a radiograph may have few values; the others are the radiograph."""
    image = np.full((SIDE, SIDE), 100, np.uint16)
    image[10:50, 10:50] = DEEP[10:50, 10:50]
    np.testing.assert_allclose(shown(image), full_range(image), atol=0.51)
    assert read_bytes(dicom(image), CONFIG).notes == ()


def test_a_patient_is_read_where_the_image_is() -> None:
    for content in (
        dicom(DEEP, PatientID="P 7"),
        dicom(DEEP, PatientID="P 7")[132:],
        dicom(DEEP, DeflatedExplicitVRLittleEndian, PatientID="P 7"),
    ):
        assert read_patient_id(content) == "P 7"
    assert read_patient_id(dicom(DEEP)) == ""
    assert read_patient_id(dicom(DEEP)[:140]) == ""  # its image is refused


def test_functional_groups_are_noted() -> None:
    groups = {"SharedFunctionalGroupsSequence": [Dataset()]}
    assert "functional groups" in read_bytes(dicom(DEEP, **groups), CONFIG).notes[0]
    assert read_bytes(dicom(DEEP, WindowCenter=9, WindowWidth=9, **groups), CONFIG).notes == ()
