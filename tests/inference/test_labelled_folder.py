"""The patients of a labelled folder, and intervals that are drawn by them."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from pneumonia.config.schema import CLASSES, EvaluationConfig
from pneumonia.errors import DataError
from pneumonia.evidence.labelled_evaluation import evaluate_folder
from pneumonia.inference.labelled_folder import find_labelled, find_patients
from pneumonia.inference.predictor import Predictor
from tests.support.images import dicom, jpeg, picture

CONFIG = EvaluationConfig(bootstrap=300)


class _Record:
    threshold = 0.5


class Brightness:
    """Scores a file by its size's last digits: anything that is fixed for a content, and wrong at times."""

    name, version, record = "brightness", "1", _Record()

    def score(self, files: list[str], progress: object, accept: object, look: object) -> list[dict[str, Any]]:
        return [{"file": file, "probability": self._probability(Path(file))} for file in files]

    def _probability(self, file: Path) -> float:
        noise = np.random.default_rng(sum(file.read_bytes())).uniform(0, 0.6)
        return float(noise + 0.4 * ("PNEUMONIA" in str(file)))


def evaluated(folder: Path, *, by_folder: bool = False) -> dict[str, Any]:
    images = find_labelled(folder)
    patients = find_patients(folder, images.labels, by_folder=by_folder)
    return evaluate_folder(cast(Predictor, Brightness()), images, patients, CONFIG).document


def width(found: dict[str, Any], metric: str = "auroc") -> float:
    return float(found[metric]["high"] - found[metric]["low"])


def by_folders(root: Path, patients: int = 20) -> Path:
    """A folder for each patient, whose image always has the same name, as an export writes it."""
    for label, name in enumerate(CLASSES):
        for patient in range(patients):
            place = root / name / f"P{label}{patient}"
            place.mkdir(parents=True)
            (place / "IM0001.jpeg").write_bytes(jpeg(picture(100 * label + patient)))
    return root


def test_images_of_one_name_are_not_one_patient(tmp_path: Path) -> None:
    """Before, all images of a class were one patient, and the intervals had no width."""
    found = evaluated(by_folders(tmp_path / "set"))
    assert (found["n"], found["patients"], found["unknown_patients"]) == (40, None, 40)
    assert found["patient_sources"] == {"none": 40}
    assert width(found) > 0.02
    assert width(found, "sensitivity") > 0.02


def test_a_folder_a_patient_counts_patients_and_draws_by_them(tmp_path: Path) -> None:
    root = by_folders(tmp_path / "set")
    for file in list(root.rglob("IM0001.jpeg")):
        for copy in range(2, 6):
            with Image.open(file) as image:  # alike, and not identical
                image.save(file.with_name(f"IM000{copy}.jpeg"), quality=95 - copy)
    by_image, by_patient = evaluated(root), evaluated(root, by_folder=True)
    assert (by_patient["n"], by_patient["patients"], by_patient["unknown_patients"]) == (200, 40, 0)
    assert by_patient["patient_sources"] == {"folder": 200}
    assert by_image["unknown_patients"] == 200
    assert width(by_patient) > 0.01


def test_a_patient_id_groups_the_files(tmp_path: Path) -> None:
    for label, name in enumerate(CLASSES):
        (tmp_path / name).mkdir()
        for at in range(8):
            content = dicom(picture(20 * label + at), PatientID=f"P{label}{at // 2}" if at < 6 else "")
            (tmp_path / name / f"IM{at}").write_bytes(content)
    found = evaluated(tmp_path)
    assert (found["n"], found["patients"], found["unknown_patients"]) == (16, 6, 4)
    assert found["patient_sources"] == {"dicom": 12, "none": 4}


@pytest.mark.parametrize("above", [False, True])
def test_a_table_in_the_folder_or_in_the_data_root_is_used(tmp_path: Path, above: bool) -> None:
    folder = by_folders(tmp_path / "set" / "test", patients=6)
    place = folder.parent if above else folder
    listed = sorted(file.relative_to(place).as_posix() for file in folder.rglob("*.jpeg"))
    with (place / "patients.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "patient"), *((path, str(at // 2)) for at, path in enumerate(listed))])
    found = evaluated(folder)
    assert (found["patients"], found["patient_sources"]) == (6, {"table": 12})
    (folder / "NORMAL" / "new.jpeg").write_bytes(jpeg(picture(77)))
    with pytest.raises(DataError, match=r"1 of 13 images are not listed:\n  (test/)?NORMAL/new\.jpeg"):
        evaluated(folder)


@pytest.mark.parametrize("listed", [b"R\xf6ntgen.jpeg", rb"R\xf6ntgen.jpeg"])
def test_a_table_may_name_a_file_by_its_bytes_or_as_reports_do(tmp_path: Path, listed: bytes) -> None:
    folder = by_folders(tmp_path / "set", patients=3)
    odd = folder / "NORMAL" / os.fsdecode(b"R\xf6ntgen.jpeg")
    (folder / "NORMAL" / "P00" / "IM0001.jpeg").rename(odd)
    others = [file.relative_to(folder).as_posix().encode() for file in folder.rglob("IM0001.jpeg")]
    rows = [b"path,patient", *(path + b",p" for path in (b"NORMAL/" + listed, *others))]
    (folder / "patients.csv").write_bytes(b"\n".join(rows))
    assert evaluated(folder)["patient_sources"] == {"table": 6}


def test_copies_under_other_names_make_no_interval_narrower(tmp_path: Path) -> None:
    """Before, each copy under another patient's name was a further observation."""
    for label, name in enumerate(CLASSES):
        (tmp_path / name).mkdir()
        for at in range(12):
            stem = f"person{at}_virus_1" if label else f"IM-{at:04d}-0001"
            (tmp_path / name / f"{stem}.jpeg").write_bytes(jpeg(picture(20 * label + at)))
    alone = evaluated(tmp_path)
    for file in list(tmp_path.rglob("*.jpeg")):
        for copy in range(1, 10):
            number = 1000 * copy + int("".join(filter(str.isdigit, file.stem))[:4])
            stem = f"person{number}_virus_1" if file.stem.startswith("person") else f"IM-{number:05d}-0001"
            shutil.copyfile(file, file.with_name(f"{stem}.jpeg"))
    many = evaluated(tmp_path)
    assert (many["n"], many["copies"]) == (240, 216)
    assert many["auroc"]["value"] == pytest.approx(alone["auroc"]["value"])
    assert width(many) == pytest.approx(width(alone), rel=0.35)


def test_one_file_in_both_classes_counts_in_both(tmp_path: Path) -> None:
    folder = by_folders(tmp_path, patients=3)
    shutil.copyfile(folder / "NORMAL" / "P00" / "IM0001.jpeg", folder / "PNEUMONIA" / "P10" / "IM0001.jpeg")
    found = evaluated(folder)
    assert (found["copies"], found["counts"]) == (0, {"NORMAL": 3, "PNEUMONIA": 3})


def test_a_table_that_the_pipeline_would_not_read_and_names_in_doubt_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = by_folders(tmp_path / "set" / "test", 3)
    (tmp_path / "set" / "train").mkdir()
    for number, file in enumerate(sorted(root.rglob("*.jpeg"))):
        for series in (0, 100):
            (file.parent / f"IM-{number + series:04d}-0001.jpeg").write_bytes(file.read_bytes())
        file.unlink()
    labels = find_labelled(root).labels
    find_patients(root, labels)
    assert "12 images are named like the published set, and lie in folders that contradict" in caplog.text
    (root / "Patients.CSV").touch()
    find_patients(root, labels)
    assert "Patients.CSV: not used; a table must be named patients.csv" in caplog.text
    (root / "Patients.CSV").unlink()
    with (root / "patients.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("path", "patient"), *((Path(name).relative_to(root).as_posix(), "p") for name in labels)]
        )
    find_patients(root, labels)
    assert f"is used here, and not by the pipeline, which reads {tmp_path / 'set' / 'patients.csv'}" in caplog.text
