"""The scores of held-out images: read without a loss, pooled by each model's threshold, complete or refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pneumonia.config.schema import EvaluationConfig
from pneumonia.errors import DataError
from pneumonia.evaluation.cross_validation import (
    HeldOut,
    check_complete,
    fold_metrics,
    over_folds,
    pooled_metrics,
    read_scores,
    write_scores,
)

EVALUATION = EvaluationConfig(bootstrap=100)
THRESHOLDS = (0.3, 0.7)


def make_rows() -> list[HeldOut]:
    """Two folds whose models are shifted against one another, each right at its own threshold but for two images."""
    found = []
    for fold, threshold in enumerate(THRESHOLDS):
        for place in range(20):
            label = place % 2
            wrong = place in (0, 1)
            score = threshold + (0.1 if label != wrong else -0.1) + place / 1000
            name = f"train/{label}/{fold}-{place}.png"
            found.append(HeldOut(0, fold, name, f"f{fold}{place}", f"p{fold}{place}", label, score, threshold, False))
    return found


ROWS = make_rows()
POOL = {0: {row.path: row.sha256 for row in ROWS}}


def test_nothing_is_lost_in_the_table(tmp_path: Path) -> None:
    rows = [replace(ROWS[0], path='a,"b" ü.png', probability=0.1 + 0.2, copy=True), *ROWS[1:]]
    assert read_scores(write_scores(tmp_path / "scores.csv", rows)) == rows


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,label\n", "line 1 must read seed,fold"),
        ("{head}\n0,0,a\n", "line 2 has 3 columns"),
        ("{head}\n0,0,a,b,p,2,0.5,0.5,0\n", "line 2: label and copy"),
        ("{head}\n0,0,a,b,p,1,many,0.5,0\n", "could not convert"),
        ("{head}\n0,0,a,b,p,1,nan,0.5,0\n", "line 2: a probability is in 0 to 1"),
        ("{head}\n0,0,a,b,p,1,0.5,1.5,0\n", "line 2: a probability is in 0 to 1"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    head = write_scores(tmp_path / "right.csv", []).read_text().strip()
    (tmp_path / "scores.csv").write_text(text.format(head=head))
    with pytest.raises(DataError, match=words):
        read_scores(tmp_path / "scores.csv")
    with pytest.raises(DataError, match="cannot be read"):
        read_scores(tmp_path / "none.csv")


def test_an_image_is_decided_at_the_threshold_of_its_own_model() -> None:
    pooled = pooled_metrics(ROWS, EVALUATION)
    assert pooled["sensitivity"].value == pooled["specificity"].value == pytest.approx(0.9)
    each = [fold_metrics([row for row in ROWS if row.fold == fold], EVALUATION) for fold in (0, 1)]
    assert [metrics["accuracy"].value for metrics in each] == pytest.approx([0.9, 0.9])
    # ranking compares the models' probabilities, which the shift between them spoils
    assert pooled["auroc"].value < min(metrics["auroc"].value for metrics in each)
    over = over_folds(each, 2, EVALUATION)
    assert over["auroc"].values == tuple(metrics["auroc"].value for metrics in each)
    assert over["accuracy"].sd == pytest.approx(0)
    with pytest.raises(ValueError, match="of one model"):
        fold_metrics(ROWS, EVALUATION)


def test_a_patient_with_several_seeds_is_one_observation() -> None:
    twice = [*ROWS, *(replace(row, seed=1) for row in ROWS)]
    assert pooled_metrics(twice, EVALUATION)["accuracy"] == pooled_metrics(ROWS, EVALUATION)["accuracy"]


def test_the_folds_hold_each_image_once() -> None:
    check_complete(ROWS, POOL)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (ROWS[1:], r"scored 0 time\(s\) with seed 0 instead of 1"),
        ([*ROWS, ROWS[0]], r"scored 2 time\(s\) with seed 0 instead of 1"),
        ([*ROWS, replace(ROWS[0], seed=1)], r"scored 1 time\(s\) with seed 1 instead of 0"),
        ([replace(ROWS[0], sha256="edited"), *ROWS[1:]], "2 differ"),
        ([replace(ROWS[0], patient=ROWS[-1].patient), *ROWS[1:]], "is in two folds of seed 0"),
    ],
)
def test_what_is_missing_double_or_on_both_sides_is_named(rows: list[HeldOut], words: str) -> None:
    with pytest.raises(DataError, match=words):
        check_complete(rows, POOL)
