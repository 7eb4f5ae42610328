"""What DICOM images show: each case against the standard's formulas, and against DCMTK, which knows neither."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

from pneumonia.imaging.dicom import decode_dicom
from pneumonia.imaging.refusal import Refusal
from tests.support.dcmtk import INSTALLED, SHIPPED, STEP, dcmtk_version, display_options, render, thinned
from tests.support.dicom_cases import CASES

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

PINS = json.loads(Path(__file__).with_name("dcmtk_pixels.json").read_text(encoding="utf-8"))
"""What DCMTK shows, at some pixels; written by benchmarks/dicom_comparison.py --pin."""

PREFIX = "pydicom: "
SHOWN_BY_DCMTK = [name for name, case in CASES.items() if case.dcmtk]
SHIPPED_PINS = [name for name in PINS if name.startswith(PREFIX)]
ROUNDING = 0.55  # grey levels; half a level, and what tables of whole numbers round before
needs_dcmtk = pytest.mark.skipif(not INSTALLED, reason="DCMTK is not installed: its written pixels are compared alone")


@pytest.mark.parametrize("name", CASES)
def test_the_picture_is_the_standards(name: str) -> None:
    case = CASES[name]
    decoded = decode_dicom(case.content)
    np.testing.assert_allclose(np.asarray(decoded.image), case.shows * 255, atol=ROUNDING)
    assert bool(decoded.notes) == case.noted


@pytest.mark.parametrize("name", SHOWN_BY_DCMTK)
def test_the_picture_is_dcmtks(name: str) -> None:
    picture = thinned(np.asarray(decode_dicom(CASES[name].content).image))
    np.testing.assert_allclose(picture, PINS[name], atol=STEP)


@pytest.mark.parametrize("name", SHIPPED_PINS)
def test_the_pictures_that_pydicom_ships_are_dcmtks(name: str) -> None:
    content = next(SHIPPED.rglob(name.removeprefix(PREFIX))).read_bytes()
    try:
        picture = thinned(np.asarray(decode_dicom(content).image))
    except Refusal as refusal:
        if "pneumonia[dicom]" not in refusal.remedy:
            raise
        pytest.skip(f"the extra `dicom` is not installed: {refusal.reason}")
    np.testing.assert_allclose(picture, PINS[name], atol=STEP)


def test_what_dcmtk_does_not_show_has_a_reason() -> None:
    assert all(bool(case.dcmtk) != bool(case.apart) for case in CASES.values())
    assert set(PINS) == {"dcmtk", *SHOWN_BY_DCMTK, *SHIPPED_PINS}
    assert len(SHIPPED_PINS) >= 16


@needs_dcmtk
@pytest.mark.integration
def test_the_written_pixels_are_those_of_the_installed_dcmtk() -> None:
    assert dcmtk_version()
    for name in SHOWN_BY_DCMTK:
        shown = render(CASES[name].content, CASES[name].dcmtk)
        np.testing.assert_array_equal(thinned(shown), PINS[name], err_msg=name)
        ours = np.asarray(decode_dicom(CASES[name].content).image)
        np.testing.assert_allclose(ours, shown, atol=STEP, err_msg=name)


@needs_dcmtk
@pytest.mark.integration
def test_dcmtk_shows_another_picture_where_a_case_says_so() -> None:
    """A reason that no longer holds is to be removed."""
    for name, case in CASES.items():
        if case.apart:
            shown = render(case.content, display_options(dcmread(DicomBytesIO(case.content))))
            difference = np.abs(shown.astype(int) - np.asarray(decode_dicom(case.content).image)).max()
            assert difference > STEP, name
