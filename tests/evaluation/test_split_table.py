"""The table of a split: attributes from manifest and packing, age and view from DICOM's headers."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from pneumonia.config.schema import DataConfig, PreprocessConfig
from pneumonia.data import packing
from pneumonia.data.images import Images
from pneumonia.evaluation.scored_table import ScoredTable
from pneumonia.evaluation.split_table import split_table
from pneumonia.statistics.metrics import Scored
from tests.support.images import dicom, jpeg, picture

PREPROCESS = PreprocessConfig(size=32)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data set whose test folder holds a JPEG and DICOM files."""
    root = tmp_path / "chest_xray"
    for split in ("train", "test"):
        for label, name in enumerate(("NORMAL", "PNEUMONIA")):
            folder = root / split / name
            folder.mkdir(parents=True)
            seed = 10 * label + 100 * (split == "test")
            (folder / f"person{seed}_virus_1.jpeg").write_bytes(jpeg(picture(seed)))
            for at in (1, 2):
                content = dicom(picture(seed + at), PatientID=f"P{seed}", PatientAge="030Y", ViewPosition="AP")
                (folder / f"{at}.dcm").write_bytes(content)
    return root


def table(root: Path, work: Path) -> tuple[ScoredTable, packing.Packed]:
    packed = packing.pack(root, DataConfig(gate_fraction=0, workers=1), PREPROCESS, work)
    images = Images.of(packed.pixels, packed.manifest, "test")
    scored = Scored(images.labels, np.linspace(0.1, 0.9, len(images)), images.patients, 0.3, images.copies)
    return split_table(root, packed.manifest, images, scored, packing.open_statistics(packed.path)), packed


def test_every_attribute_is_found(root: Path, tmp_path: Path) -> None:
    found, packed = table(root, tmp_path / "work")
    by = {image.path: image for image in found.images}
    scan, named = by["test/PNEUMONIA/1.dcm"], by["test/PNEUMONIA/person110_virus_1.jpeg"]
    assert (scan.age, scan.view, scan.subtype, scan.patient_source) == ("18 to 64 years", "AP", "", "dicom")
    assert (named.age, named.view, named.subtype, named.patient_source) == ("", "", "virus", "name")
    assert scan.patient.startswith("id-")
    assert scan.patient == scan.drawn_with
    entry = next(entry for entry in packed.manifest.entries if entry.path == scan.path)
    assert (scan.sha256, scan.width, scan.encoding) == (entry.sha256, entry.width, entry.encoding)
    row = packed.manifest.entries.index(entry)
    inside = packed.pixels[row][2:-2, 2:-2]  # 6 % of 32 pixels
    assert scan.brightness == pytest.approx(inside.mean() / 255, abs=1e-6)
    assert found.threshold == 0.3


def test_a_file_that_changed_since_is_named_and_says_nothing(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    packed = packing.pack(root, DataConfig(gate_fraction=0, workers=1), PREPROCESS, tmp_path / "work")
    images = Images.of(packed.pixels, packed.manifest, "test")
    scored = Scored(images.labels, np.full(len(images), 0.5), images.patients, 0.3)
    (root / "test/NORMAL/1.dcm").write_bytes(dicom(picture(5), PatientAge="001Y"))
    (root / "test/NORMAL/2.dcm").unlink()
    with caplog.at_level(logging.WARNING):
        found = split_table(root, packed.manifest, images, scored, packing.open_statistics(packed.path))
    ages = {image.path: image.age for image in found.images}
    assert (ages["test/NORMAL/1.dcm"], ages["test/NORMAL/2.dcm"], ages["test/PNEUMONIA/2.dcm"]) == (
        "", "", "18 to 64 years",
    )  # fmt: skip
    assert "2 DICOM files are gone or have changed" in caplog.text
    assert "test/NORMAL/1.dcm" in caplog.text
