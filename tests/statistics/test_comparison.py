"""Two models on the same images: DeLong against pROC and permutations, McNemar by counting, outcomes by definition."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pneumonia.config.schema import EvaluationConfig
from pneumonia.errors import DataError
from pneumonia.records.evaluation import Metric
from pneumonia.statistics.comparison import (
    Outcome,
    adjusted,
    compare_auroc,
    compare_decisions,
    images_to_tell,
    mcnemar,
    outcome,
)
from pneumonia.statistics.metrics import Scored, paired_differences

R = """
suppressMessages(library(pROC))
d <- read.csv(commandArgs(TRUE)[1])
a <- roc(d$label, d$a, direction = "<", levels = c(0, 1), quiet = TRUE)
b <- roc(d$label, d$b, direction = "<", levels = c(0, 1), quiet = TRUE)
r <- roc.test(a, b, method = "delong", paired = TRUE)
cat(format(c(auc(a) - auc(b), r$conf.int, r$p.value), digits = 15), sep = "\\n")
"""


def drawn(images: int, noise: float, seed: int = 0, decimals: int = 2) -> tuple[Scored, Scored]:
    """Two models that see the same signal, the second through more noise; few decimals make ties."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(images) % 3 > 0).astype(int)
    signal = labels * 1.5 + rng.normal(size=images)

    def model(spread: float) -> Scored:
        values = 1 / (1 + np.exp(-(signal - 1 + spread * rng.normal(size=images))))
        return Scored(labels, np.round(values, decimals))

    return model(0.3), model(noise)


# --- AUROC

PROC = (0.1315104166666666, -0.0667363957203236, 0.3297572290536570, 0.1935407706233642)  # difference, interval, p


def fixed() -> tuple[Scored, Scored]:
    """Forty images by integer arithmetic, with ties, so that they are the same everywhere."""
    at = np.arange(40)
    labels = (at * 7 % 5 > 1).astype(int)
    first = (at * 37 % 23 + 6 * labels) / 40
    second = (at * 29 % 19 + 4 * labels) / 40
    return Scored(labels, first), Scored(labels, second)


def test_delong_is_procs() -> None:
    """The values are pROC 1.18.0's: roc.test(method = "delong", paired = TRUE)."""
    found = compare_auroc(*fixed())
    difference = found.difference
    assert [difference.value, difference.low, difference.high, found.p] == pytest.approx(PROC, abs=1e-12)


@pytest.mark.nightly
@pytest.mark.parametrize(("images", "noise", "seed"), [(20, 1.0, 1), (60, 0.3, 2), (624, 0.8, 3), (3000, 0.35, 4)])
def test_delong_is_procs_on_drawn_images(tmp_path: Path, images: int, noise: float, seed: int) -> None:
    program = shutil.which("Rscript")
    if program is None:
        pytest.skip("R is not installed: Debian's r-cran-proc brings it")
    a, b = drawn(images, noise, seed)
    table = np.column_stack([a.labels, a.probabilities, b.probabilities])
    np.savetxt(tmp_path / "scores.csv", table, delimiter=",", header="label,a,b", comments="", fmt="%.17g")
    (tmp_path / "delong.R").write_text(R)
    command = [program, str(tmp_path / "delong.R"), str(tmp_path / "scores.csv")]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = compare_auroc(a, b)
    difference = found.difference
    wanted = [float(line) for line in printed.split()]
    assert [difference.value, difference.low, difference.high, found.p] == pytest.approx(wanted, abs=1e-9)


def test_delong_agrees_with_permutations() -> None:
    """Where the models are equal in truth, their ranks of an image can be exchanged."""
    a, b = drawn(300, 0.6, seed=5, decimals=9)
    found = compare_auroc(a, b)
    labels = np.asarray(a.labels)
    ranks = np.stack([np.argsort(np.argsort(each.probabilities)) for each in (a, b)])
    negatives = (labels == 0).sum()

    def difference(values: np.ndarray) -> np.ndarray:
        order = values.argsort(axis=-1).argsort(axis=-1)
        own = (labels > 0).sum() - 1
        aurocs = (order * (labels > 0)).sum(axis=-1) / (labels > 0).sum() / negatives - own / 2 / negatives
        return np.asarray(aurocs[..., 0] - aurocs[..., 1])

    assert difference(ranks) == pytest.approx(found.difference.value)
    swaps = np.random.default_rng(0).integers(2, size=(4000, 1, 300)).astype(bool)
    tie = np.random.default_rng(1).random((4000, 2, 300)) / 2  # two models' equal ranks, put side by side
    exchanged = difference(np.where(swaps, ranks[::-1], ranks) + tie)
    share = (np.abs(exchanged) >= abs(found.difference.value) - 1e-12).mean()
    assert 0.01 < share < 0.9
    assert found.p == pytest.approx(share, abs=0.04)


def clustered(patients: int, seed: int) -> tuple[Scored, Scored]:
    """Three images a patient, whose difficulty they share; two models that are equal in truth."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(patients), 3)
    labels = (person % 2).astype(int)
    keys = [str(each) for each in person]
    found = []
    for _ in range(2):
        shared = rng.normal(size=patients)[person]
        values = 1 / (1 + np.exp(-(labels + shared + 0.2 * rng.normal(size=len(person)))))
        found.append(Scored(labels, values, keys))
    return found[0], found[1]


def test_images_of_one_patient_are_no_independent_observations() -> None:
    a, b = clustered(80, seed=0)
    by_patient = compare_auroc(a, b).difference
    by_image = compare_auroc(Scored(a.labels, a.probabilities), Scored(b.labels, b.probabilities)).difference
    resampled = paired_differences(a, b, EvaluationConfig(bootstrap=2000))["auroc"]
    assert by_patient.value == by_image.value == pytest.approx(resampled.value)
    wide = by_patient.high - by_patient.low
    assert wide == pytest.approx(resampled.high - resampled.low, rel=0.1)
    assert wide > 1.4 * (by_image.high - by_image.low)


def test_equal_models_differ_as_often_as_the_level_says() -> None:
    found = [compare_auroc(*clustered(80, seed)).p for seed in range(400)]
    assert 0.025 < np.mean(np.array(found) < 0.05) < 0.085  # 0.05 with three standard errors


def test_one_image_a_patient_is_delong() -> None:
    a, b = drawn(60, 0.8)
    keys = [str(row) for row in range(60)]
    one = compare_auroc(Scored(a.labels, a.probabilities, keys), Scored(b.labels, b.probabilities, keys))
    assert one == compare_auroc(a, b)


def test_copies_count_in_the_difference_and_narrow_nothing() -> None:
    a, b = drawn(60, 0.8)
    rows = np.r_[np.arange(60), np.arange(60)]
    copies = np.arange(120) >= 60
    twice = [
        Scored(np.asarray(each.labels)[rows], np.asarray(each.probabilities)[rows], copies=copies) for each in (a, b)
    ]
    once, found = compare_auroc(a, b), compare_auroc(twice[0], twice[1])
    assert found.difference.value == pytest.approx(once.difference.value)
    assert found.difference.low == pytest.approx(once.difference.low)


def test_the_order_of_the_models_turns_the_sign() -> None:
    a, b = drawn(60, 0.8)
    one, other = compare_auroc(a, b), compare_auroc(b, a)
    assert other.p == pytest.approx(one.p)
    assert (other.difference.low, other.difference.high) == pytest.approx((-one.difference.high, -one.difference.low))


def test_equal_rankings_do_not_differ() -> None:
    a, _ = drawn(60, 0.8)
    found = compare_auroc(a, Scored(a.labels, np.asarray(a.probabilities) / 2))
    assert found.p == 1
    assert found.difference == Metric(value=0, low=0, high=0)


def test_what_cannot_be_compared_is_refused() -> None:
    a, b = drawn(60, 0.8)
    with pytest.raises(ValueError, match="same images"):
        compare_auroc(a, Scored(1 - np.asarray(b.labels), b.probabilities))
    with pytest.raises(ValueError, match="same images"):
        compare_decisions(a, Scored(b.labels, b.probabilities, [str(row) for row in range(60)]))
    with pytest.raises(ValueError, match="confidence"):
        compare_auroc(a, b, 95)
    lone = Scored([0, 1, 1, 1], [0.1, 0.5, 0.6, 0.7])
    with pytest.raises(DataError, match=r"1 patient.* of a class"):
        compare_auroc(lone, lone)


# --- decisions


def test_mcnemar_counts_every_assignment() -> None:
    first = np.array([1] * 7 + [0] * 2 + [1] * 5 + [0] * 3, dtype=bool)
    second = np.array([0] * 7 + [1] * 2 + [1] * 5 + [0] * 3, dtype=bool)
    found = mcnemar(first, second)
    assert (found.first, found.second) == (7, 2)
    assignments = [sum(signs) for signs in itertools.product((0, 1), repeat=9)]
    extreme = sum(abs(each - 4.5) >= abs(7 - 4.5) for each in assignments)
    assert found.p == pytest.approx(extreme / len(assignments))


def test_models_that_are_never_apart_have_no_evidence() -> None:
    assert mcnemar([True, False], [True, False]).p == 1
    with pytest.raises(ValueError, match="same images"):
        mcnemar([True], [True, False])


def test_each_model_decides_at_its_own_threshold() -> None:
    labels = [1, 1, 1, 0, 0, 0]
    a = Scored(labels, [0.9, 0.8, 0.4, 0.3, 0.2, 0.1], threshold=0.35)
    b = Scored(labels, [0.9, 0.8, 0.4, 0.3, 0.2, 0.1], threshold=0.15)
    assert (compare_decisions(a, b).first, compare_decisions(a, b).second) == (2, 0)
    assert compare_decisions(a, b, only=1).first == 0
    assert compare_decisions(a, b, only=0).first == 2
    copies = [False, False, False, False, True, False]
    assert compare_decisions(*(Scored(labels, s.probabilities, None, s.threshold, copies) for s in (a, b))).first == 1


# --- outcomes


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0.001, 0.03, Outcome.BETTER),
        (0.0, 0.03, Outcome.NOT_WORSE),
        (-0.01, 0.03, Outcome.NOT_WORSE),
        (-0.009, -0.001, Outcome.NOT_WORSE),
        (-0.011, 0.03, Outcome.CANNOT_TELL),
        (-0.03, 0.0, Outcome.CANNOT_TELL),
        (-0.03, -0.001, Outcome.WORSE),
    ],
)
def test_an_interval_has_one_outcome(low: float, high: float, wanted: Outcome) -> None:
    assert outcome(Metric(value=(low + high) / 2, low=low, high=high), 0.01) == wanted


def test_a_negative_margin_is_refused() -> None:
    with pytest.raises(ValueError, match="margin"):
        outcome(Metric(value=0, low=0, high=0), -0.01)


def test_so_many_images_would_tell() -> None:
    unsure = Metric(value=0.0, low=-0.04, high=0.04)
    images = images_to_tell(unsure, 0.01, 624)
    assert images == 624 * 16
    assert outcome(Metric(value=0.0, low=-0.01, high=0.01), 0.01) == Outcome.NOT_WORSE
    worse = Metric(value=-0.02, low=-0.06, high=0.02)
    assert images_to_tell(worse, 0.01, 100) == 400
    assert images_to_tell(Metric(value=0.0, low=-0.04, high=0.04), 0.0, 100) is None


def test_many_tests_are_adjusted() -> None:
    assert adjusted([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert adjusted([0.5, 0.9]).tolist() == pytest.approx([1.0, 1.0])
