"""The pages, plots and sheet of an assessment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumonia.config.schema import EvaluationConfig
from pneumonia.evaluation.assessment import assess
from pneumonia.evaluation.robustness import CHANGES, STRENGTHS
from pneumonia.records.assessment import Assessment, Case, Robustness, RobustnessRow
from pneumonia.records.evaluation import Metric
from pneumonia.reporting.assessment_plots import assessment_plots, robustness_plot
from pneumonia.reporting.assessment_report import assessment_sections, robustness_section, write_evaluation
from pneumonia.reporting.error_sheet import COLUMNS, SIDE, Picture, Section, write_sheet
from pneumonia.reporting.tables import probability_text
from tests.support.scored import scored_table

PLOTS = ["decision_curve.png", "selective.png", "slices.png"]


@pytest.fixture(scope="module")
def found() -> Assessment:
    return assess(scored_table(), EvaluationConfig(bootstrap=100), "the release set")


def robustness() -> Robustness:
    metrics = {name: Metric(value=0.9, low=0.8, high=0.95) for name in ("auroc", "sensitivity", "specificity")}
    rows = [
        RobustnessRow(change=change.name, strength=strength, amount=change.amount(strength), metrics=metrics)
        for change in CHANGES
        for strength in STRENGTHS
    ]
    return Robustness(
        measured_on="x", when="2026-01-01T00:00:00+00:00", weights_digest="w", threshold=0.4, confidence=0.95,
        images=200, positives=100, rows_digest="r", seed=0, reference=metrics, rows=tuple(rows),
    )  # fmt: skip


def test_the_plots_are_pictures_and_the_same_every_time(found: Assessment, tmp_path: Path) -> None:
    first = assessment_plots(tmp_path / "a", found)
    assert [file.name for file in first] == PLOTS
    second = assessment_plots(tmp_path / "b", found)
    for file, again in zip(first, second, strict=True):
        with Image.open(file) as picture:
            assert min(picture.size) > 300
        assert file.read_bytes() == again.read_bytes()
    with Image.open(robustness_plot(tmp_path, robustness())) as picture:
        assert min(picture.size) > 600


def test_the_page_shows_every_table_and_each_picture_once(found: Assessment, tmp_path: Path) -> None:
    pictures = [tmp_path / name for name in ("roc.png", *PLOTS, "robustness.png", "errors.png")]
    page = write_evaluation(tmp_path, found, "m 3", pictures, robustness()).read_text()
    assert page.startswith("# m 3 on the release set\n\n> **Not a medical device.**")
    for words in (
        "| 5% |", "Likelihood ratio of the answer PNEUMONIA: ", "## Slices", "against all negatives", "NPV at least",
        "## Worst errors", "## Robustness", "JPEG of quality 4", "Intervals: 95%",
    ):  # fmt: skip
        assert words in page, words
    for picture in pictures:
        assert page.count(f"]({picture.name})") == 1, picture.name
    assert f"{found.worst_errors[0].path}" in page


def test_what_could_not_be_computed_stands_in_words(found: Assessment) -> None:
    changed = found.model_copy(update={"remarks": ("likelihood_ratio_positive is infinite: x",), "slices": ()})
    page = "\n".join(assessment_sections(changed))
    assert "Likelihood ratio of the answer PNEUMONIA is infinite: x." in page
    assert "## Slices" not in page
    none = found.model_copy(update={"worst_errors": ()})
    assert "No image was classified wrongly." in "\n".join(assessment_sections(none))


def test_a_small_slice_says_so(found: Assessment) -> None:
    assert "small: 6 positives" in "\n".join(assessment_sections(found))


def test_robustness_without_a_plot_links_none() -> None:
    assert "](" not in "\n".join(robustness_section(robustness()))


def picture(at: int, width: int = 300, height: int = 200) -> Picture:
    levels = np.full((64, 64), 40 + 24 * at, np.uint8)
    case = Case(path="a/" * 60 + f"{at}.jpeg", label="NORMAL", probability=0.9, patient=None, sha256="0")
    return Picture(case, levels, np.dstack([levels, levels // 2, levels // 5]), width, height)


def test_the_sheet_shows_image_and_map_side_by_side(tmp_path: Path) -> None:
    sections = [Section("Errors", tuple(picture(at) for at in range(COLUMNS + 1))), Section("Right", ())]
    file = write_sheet(tmp_path / "errors.png", sections, 0.4, phantom=True)
    with Image.open(file) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    first = (pixels == 40).all(axis=2)[:, : 2 * SIDE]
    grey, rows = np.flatnonzero(first.sum(axis=0) > SIDE / 3), np.flatnonzero(first.sum(axis=1) > SIDE / 3)
    heat = np.flatnonzero((pixels == (40, 20, 8)).all(axis=2).sum(axis=0) > SIDE / 3)
    assert grey.max() - grey.min() + 1 == SIDE
    assert SIDE < heat.min() - grey.min() < SIDE + 10, "beside it"
    assert rows.max() - rows.min() + 1 == round(SIDE * 200 / 300), "the aspect ratio of the original"
    assert file.read_bytes() == write_sheet(tmp_path / "again.png", sections, 0.4, phantom=True).read_bytes()


def test_a_probability_is_never_shown_as_certainty() -> None:
    texts = [probability_text(value) for value in (0.0, 1e-6, 0.12345, 0.999999, 1.0)]
    assert texts == ["0.0000", "below 0.0001", "0.1235", "above 0.9999", "1.0000"]
