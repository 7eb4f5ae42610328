"""The script that prepares an outside set from NIH ChestX-ray14."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from benchmarks import outside_set

HEAD = ("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Gender", "View Position")
ROWS = [
    ("1_0.png", "No Finding", "0", "1", "40", "F", "PA"),
    ("1_1.png", "Pneumonia|Effusion", "1", "1", "41", "F", "PA"),  # of one patient, the one with pneumonia
    ("1_2.png", "Pneumonia", "2", "1", "42", "F", "PA"),
    ("2_0.png", "Pneumonia", "0", "2", "003Y", "M", "PA"),  # as an earlier edition of the table writes ages
    ("3_0.png", "No Finding", "0", "3", "50", "M", "AP"),
    ("4_0.png", "Effusion", "0", "4", "50", "M", "PA"),
    ("5_0.png", "No Finding", "0", "5", "90", "M", "PA"),
    *((f"{patient}_0.png", "No Finding", "0", str(patient), "30", "F", "PA") for patient in range(6, 16)),
]


def rows() -> list[dict[str, str]]:
    return [dict(zip(HEAD, row, strict=True)) for row in ROWS]


def test_one_frontal_image_of_each_patient_is_kept() -> None:
    chosen, left = outside_set.choose(rows(), "PA", (18, 80), balance=4, seed=0)
    assert [image for image, (label, _) in chosen.items() if label == "PNEUMONIA"] == ["1_1.png"]
    assert len(chosen) == 5, "four healthy patients for one with pneumonia"
    assert left == {
        "another finding": 1,
        "another view": 1,
        "another age": 2,
        "another image of the patient": 2,
        "more healthy patients than asked for": 6,
    }
    children, _ = outside_set.choose(rows(), "PA", (0, 5), balance=4, seed=0)
    assert children == {"2_0.png": ("PNEUMONIA", "2")}


def test_the_set_is_one_that_evaluate_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, images, out = tmp_path / "entries.csv", tmp_path / "images" / "part", tmp_path / "out"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([HEAD, *ROWS])
    images.mkdir(parents=True)
    for name, *_ in ROWS[:-1]:
        (images / name).write_bytes(b"picture")
    arguments = ["--entries", str(table), "--images", str(tmp_path / "images"), "--out", str(out), "--balance", "9"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["outside_set.py", *arguments])
        outside_set.main()
        printed = capsys.readouterr().out
        assert "one image a patient; not in" in printed
        listed = list(csv.DictReader((out / "patients.csv").read_text().splitlines()))
        assert {row["path"] for row in listed} == {path.relative_to(out).as_posix() for path in out.rglob("*.png")}
        assert len({row["patient"] for row in listed}) == len(listed)
        with pytest.raises(SystemExit, match="exists"):
            outside_set.main()
        patch.setattr("sys.argv", ["outside_set.py", *arguments[:-4], "--out", str(tmp_path / "new")])
        table.write_text("a,b\n1,2\n")
        with pytest.raises(SystemExit, match="is not NIH's table"):
            outside_set.main()
