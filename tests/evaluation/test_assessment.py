"""An assessment: every number from the table alone, slices by hand, and the order of the errors."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumonia.config.schema import EvaluationConfig
from pneumonia.errors import DataError
from pneumonia.evaluation.assessment import assess, most_confident, worst_errors
from pneumonia.evaluation.scored_table import (
    COLUMNS,
    ScoredImage,
    ScoredTable,
    age_group,
    dicom_groups,
    known_patients,
    view_group,
)
from pneumonia.evaluation.slices import groups, slices
from pneumonia.imaging.refusal import DicomAttributes
from pneumonia.records.assessment import Assessment
from pneumonia.statistics.metrics import METRICS, compute_metrics
from tests.support.scored import scored_table

QUICK = EvaluationConfig(bootstrap=200)


def test_the_table_that_was_read_back_gives_the_same_assessment(tmp_path: Path) -> None:
    table = scored_table()
    again = ScoredTable.read(table.write(tmp_path / "scores.csv"))
    assert again == table
    found = assess(table, QUICK, "release set")
    assert assess(again, QUICK, "release set") == found
    assert Assessment.model_validate_json(found.model_dump_json()) == found


@settings(deadline=None, max_examples=15)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=5), st.floats(0, 1), st.text(max_size=9))
def test_no_number_loses_a_bit_on_paper(
    tmp_path_factory: pytest.TempPathFactory, scores: list[float], threshold: float, word: str
) -> None:
    """Any text of a column, too: a path may hold anything that is printable."""
    word = "".join(letter for letter in word if letter.isprintable())
    rows = tuple(
        dataclasses.replace(image, probability=score, brightness=score or None, path=f"{at}{word}")
        for at, (image, score) in enumerate(zip(scored_table(len(scores)).images, scores, strict=True))
    )
    table = ScoredTable(rows, threshold)
    assert ScoredTable.read(table.write(tmp_path_factory.mktemp("t") / "scores.csv")) == table


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("sha256,", "digest,"), "line 1 has the columns path,digest"),
        (lambda text: text.replace(",name,1,", ",name,2,", 1), "line 4 .*label 2"),
        (lambda text: text.replace(",name,", ",hearsay,", 1), "line 2 .*hearsay"),
        (lambda text: text[:-1] + "1\n", "holds 2 thresholds"),
        (lambda text: text + "x\n", "is not a row of scores"),
    ],
)
def test_a_table_that_is_none_is_refused_by_its_line(tmp_path: Path, change: object, message: str) -> None:
    file = scored_table(12).write(tmp_path / "scores.csv")
    file.write_text(change(file.read_text()))  # type: ignore[operator]
    with pytest.raises(DataError, match=message):
        ScoredTable.read(file)


def test_it_holds_every_metric_and_counts_what_it_is_of() -> None:
    table = scored_table()
    found = assess(table, QUICK, "release set")
    assert set(METRICS) < set(found.metrics)
    assert {name: found.metrics[name] for name in METRICS} == compute_metrics(table.scored, QUICK)
    assert (found.images, found.positives, found.negatives, found.patients, found.copies) == (120, 60, 60, 60, 1)
    assert [each.prevalence for each in found.predictive_values] == [0.05, 0.2, 0.5]
    assert sum(each.n for each in found.reliability) == 120


def test_slices_are_what_a_hand_selects() -> None:
    table = scored_table()
    by = {(part.group, part.value): part for part in slices(table, QUICK)}
    right = (table.probabilities >= 0.4) == (table.labels == 1)
    viral = np.array([image.subtype == "virus" for image in table.images])
    part = by["subtype", "viral, against all negatives"]
    assert (part.images, part.positives, part.negatives) == (viral.sum() + 60, viral.sum(), 60)
    assert part.metrics["sensitivity"].value == pytest.approx(right[viral].mean())
    assert part.metrics["specificity"].value == pytest.approx(right[table.labels == 0].mean())
    (png,) = (part for key, part in by.items() if key == ("encoding", "PNG"))
    assert png.images == 12
    assert "small: " in png.note
    assert {key[0] for key in by} == {"subtype", "image size", "encoding", "brightness", "age", "view"}
    for name in ("image size", "brightness"):
        thirds = [part for part in by.values() if part.group == name]
        assert sum(part.images for part in thirds) == 120
        assert all(30 <= part.images <= 50 for part in thirds)
    bright = next(part for part in by.values() if part.group == "brightness" and part.value.startswith("above"))
    assert bright.patients is not None
    assert by["view", "PA"].images == 40


def test_an_attribute_that_is_the_same_for_all_makes_no_slice() -> None:
    same = {"width": 224, "height": 224, "encoding": "jpeg;L;q=29.0", "age": "", "view": "", "brightness": None}
    table = ScoredTable(tuple(dataclasses.replace(image, **same, subtype="") for image in scored_table().images), 0.4)
    assert groups(table) == []
    assert assess(table, QUICK, "x").slices == ()


def test_a_slice_of_one_class_says_so() -> None:
    table = scored_table()
    rows = [dataclasses.replace(image, view="PA" if image.label else "AP") for image in table.images]
    found = {part.value: part for part in slices(ScoredTable(tuple(rows), 0.4), QUICK) if part.group == "view"}
    assert (set(found["PA"].metrics), found["PA"].note) == ({"sensitivity"}, "no negatives")
    assert (set(found["AP"].metrics), found["AP"].note) == ({"specificity"}, "no positives")


def test_the_worst_errors_come_first_and_right_answers_are_apart() -> None:
    scores, labels = [0.02, 0.99, 0.6, 0.35, 0.9, 0.1], [1, 0, 0, 1, 1, 0]
    rows = zip(scored_table(6).images, scores, labels, strict=True)
    table = ScoredTable(
        tuple(dataclasses.replace(image, probability=score, label=label) for image, score, label in rows), 0.4
    )
    assert worst_errors(table) == [1, 0, 2, 3], "in log odds from those of 0.4: 5.0, 3.5, 0.8, 0.2"
    assert most_confident(table) == [4, 5]
    found = assess(table, EvaluationConfig(bootstrap=100), "x")
    assert [case.probability for case in found.worst_errors] == [0.99, 0.02, 0.6, 0.35]
    assert [case.label for case in found.most_confident] == ["PNEUMONIA", "NORMAL"]


def test_no_more_than_fifty_errors_and_ten_of_each_class() -> None:
    table = scored_table(400)
    wrong = ScoredTable(
        tuple(dataclasses.replace(i, label=1 - i.label) if at % 2 else i for at, i in enumerate(table.images)), 0.4
    )
    found = assess(wrong, QUICK, "x")
    assert len(found.worst_errors) == 50
    assert [case.label for case in found.most_confident] == ["PNEUMONIA"] * 10 + ["NORMAL"] * 10


def test_unknown_patients_are_nobody() -> None:
    rows = tuple(dataclasses.replace(image, patient_source="none") for image in scored_table(12).images)
    assert known_patients(rows) is None
    assert assess(ScoredTable(rows, 0.4), QUICK, "x").worst_errors[0].patient is None


def test_age_and_view_are_groups_and_no_text_of_a_file() -> None:
    assert [age_group(age) for age in (None, 0.5, 1, 5.9, 6, 17, 18, 64, 65, 97)] == [
        "", "under 1 year", "1 to 5 years", "1 to 5 years", "6 to 17 years", "6 to 17 years", "18 to 64 years",
        "18 to 64 years", "65 years and older", "65 years and older",
    ]  # fmt: skip
    assert [view_group(view) for view in ("", "PA", "AP", "DR. MILLER")] == ["", "PA", "AP", "other"]
    assert dicom_groups(None) == {}
    assert dicom_groups(DicomAttributes(view="PA", age=4.0)) == {"age": "1 to 5 years", "view": "PA"}


def test_nothing_that_identifies_a_person_is_a_column() -> None:
    assert set(COLUMNS) == {
        "path", "sha256", "patient", "drawn_with", "patient_source", "label", "probability", "copy", "subtype",
        "width", "height", "encoding", "brightness", "age", "view", "threshold",
    }  # fmt: skip
    assert ScoredImage.__dataclass_fields__["age"].type == "str", "a group, not an age"


@pytest.mark.integration
def test_it_is_computed_without_torch() -> None:
    modules = ("assessment", "scored_table", "slices", "robustness")
    lines = [f"import pneumonia.evaluation.{name}" for name in modules]
    code = "; ".join(["import sys", "sys.modules['torch'] = None", *lines])
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
