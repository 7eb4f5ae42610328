"""Metrics against scikit-learn, intervals against a bootstrap written as a loop, and what bad input gets."""

from __future__ import annotations

import logging
import math
import re
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics

from pneumonia.config.schema import EvaluationConfig
from pneumonia.errors import DataError
from pneumonia.records.evaluation import Curves, Metric
from pneumonia.statistics.metrics import (
    METRICS,
    PAIRED_METRICS,
    Scored,
    compute_curves,
    compute_metrics,
    paired_differences,
)

QUICK = EvaluationConfig(bootstrap=100)


def make_images(
    n: int = 200, seed: int = 0, a_patient: int = 3
) -> tuple[NDArray[np.int64], NDArray[np.float64], list[str]]:
    """Labels, probabilities with many ties, and patients of one class each."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) // a_patient % 5 < 3).astype(np.int64)
    score = 1 / (1 + np.exp(-rng.normal(size=n) - 2 * (labels - 0.5)))
    return labels, np.round(score, 2), [f"p{i // a_patient}" for i in range(n)]


def reference(labels: NDArray[np.int64], probabilities: NDArray[np.float64], threshold: float) -> dict[str, float]:
    """The same metrics by scikit-learn; the calibration error, which it lacks, by a loop over bins."""
    called = probabilities >= threshold
    error = 0.0
    for i in range(10):
        inside = (probabilities >= i / 10) & ((probabilities < (i + 1) / 10) | (i == 9))
        if inside.any():
            error += inside.mean() * abs(probabilities[inside].mean() - labels[inside].mean())
    return {
        "auroc": metrics.roc_auc_score(labels, probabilities),
        "auprc": metrics.average_precision_score(labels, probabilities),
        "accuracy": metrics.accuracy_score(labels, called),
        "sensitivity": metrics.recall_score(labels, called),
        "specificity": metrics.recall_score(1 - labels, ~called),
        "precision": metrics.precision_score(labels, called, zero_division=0),
        "f1": metrics.f1_score(labels, called, zero_division=0),
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, called),
        "brier": metrics.brier_score_loss(labels, probabilities),
        "ece": error,
        **weighted("balanced", labels, probabilities, 0.5, probabilities),
        **weighted("at_prevalence", labels, probabilities, 0.1, shifted(probabilities, 0.1)),
    }


def shifted(probabilities: NDArray[np.float64], prevalence: float) -> NDArray[np.float64]:
    """The log odds of a prevalence added to those of each probability."""
    with np.errstate(divide="ignore"):
        odds = np.log(probabilities) - np.log1p(-probabilities) + math.log(prevalence / (1 - prevalence))
    return np.asarray(1 / (1 + np.exp(-odds)))


def weighted(
    name: str, labels: NDArray[np.int64], probabilities: NDArray[np.float64], share: float, used: NDArray[np.float64]
) -> dict[str, float]:
    """Brier score and calibration error with weights that give PNEUMONIA a share."""
    weights = np.where(labels > 0, share / labels.sum(), (1 - share) / (labels == 0).sum())
    bins = np.minimum((used * 10).astype(int), 9)
    errors = [abs((weights * (used - labels))[bins == index].sum()) for index in range(10)]
    brier = metrics.brier_score_loss(labels, used, sample_weight=weights)
    return {f"brier_{name}": float(brier), f"ece_{name}": float(sum(errors))}


labelled = st.lists(st.tuples(st.booleans(), st.integers(0, 16), st.integers(0, 9)), min_size=2, max_size=60).filter(
    lambda rows: len({label for label, _, _ in rows}) == 2
)


@given(labelled, st.integers(0, 16))
@settings(max_examples=80, deadline=None)
def test_values_are_those_of_scikit_learn(rows: list[tuple[bool, int, int]], cut: int) -> None:
    labels = np.array([int(label) for label, _, _ in rows])
    probabilities = np.array([value / 16 for _, value, _ in rows])
    found = compute_metrics(Scored(labels, probabilities, [str(patient) for _, _, patient in rows], cut / 16), QUICK)
    assert list(found) == list(METRICS)
    expected = reference(labels, probabilities, cut / 16)
    for name in METRICS:
        assert found[name].value == pytest.approx(expected[name], abs=1e-12), name
        assert 0 <= found[name].low <= found[name].high <= 1 + 1e-12


@pytest.mark.parametrize("n", [60, 5000])  # one block of resamples, and several
def test_intervals_are_those_of_a_loop_over_copied_images(n: int) -> None:
    labels, probabilities, patients = make_images(n, a_patient=max(3, n // 100))
    names = sorted(set(patients))
    members = [[i for i, patient in enumerate(patients) if patient == name] for name in names]
    drawn = np.random.default_rng(QUICK.seed).integers(len(names), size=(QUICK.bootstrap, len(names)))
    loop = []
    for row in drawn:
        chosen = np.array([image for patient in row for image in members[patient]])
        loop.append(reference(labels[chosen], probabilities[chosen], 0.5))
    found = compute_metrics(Scored(labels, probabilities, patients, 0.5), QUICK)
    for name in METRICS:
        low, high = np.quantile([one[name] for one in loop], [0.025, 0.975])
        assert (found[name].low, found[name].high) == pytest.approx((low, high), abs=1e-12), name


def test_the_interval_covers_the_truth_as_often_as_it_says_only_when_grouped_by_patient() -> None:
    rng = np.random.default_rng(1)
    distance, patients, a_patient, repeats = 1.5, 60, 5, 200
    truth = 0.5 * (1 + math.erf(distance / 2))  # AUROC of two unit normals: Phi(distance / sqrt 2)
    config = EvaluationConfig(bootstrap=400)
    covered = {"grouped": 0, "images": 0}
    labels = np.repeat(np.arange(patients) % 2, a_patient)
    keys = {
        "grouped": [str(i) for i in np.repeat(np.arange(patients), a_patient)],
        "images": [str(i) for i in range(patients * a_patient)],
    }
    for _ in range(repeats):
        shared = np.repeat(rng.normal(scale=math.sqrt(0.8), size=patients), a_patient)
        score = distance * labels + shared + rng.normal(scale=math.sqrt(0.2), size=len(labels))
        for kind, patient in keys.items():
            auroc = compute_metrics(Scored(labels, 1 / (1 + np.exp(-score)), patient, 0.5), config)["auroc"]
            covered[kind] += auroc.low <= truth <= auroc.high
    assert 0.89 <= covered["grouped"] / repeats <= 0.99
    assert covered["images"] / repeats < 0.8  # images of one patient taken for independent: far too sure


def test_the_order_of_the_images_and_repeating_the_call_change_nothing() -> None:
    labels, probabilities, patients = make_images()
    shuffled = np.random.default_rng(5).permutation(len(labels))
    first = compute_metrics(Scored(labels, probabilities, patients, 0.5), QUICK)
    assert compute_metrics(Scored(labels, probabilities, patients, 0.5), QUICK) == first
    other = compute_metrics(
        Scored(labels[shuffled], probabilities[shuffled], [patients[i] for i in shuffled], 0.5), QUICK
    )
    for name, metric in first.items():
        assert other[name].model_dump() == pytest.approx(metric.model_dump(), abs=1e-12)
    scored, other_seed = Scored(labels, probabilities, patients, 0.5), EvaluationConfig(bootstrap=100, seed=1)
    assert compute_metrics(scored, other_seed) != first


def test_less_confidence_is_a_narrower_interval() -> None:
    wide, narrow = (
        compute_metrics(Scored(*make_images(), 0.5), EvaluationConfig(bootstrap=500, confidence=confidence))["auroc"]
        for confidence in (0.95, 0.6)
    )
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high


def test_paired_differences_are_those_of_the_metrics_on_the_same_resamples() -> None:
    labels, a, patients = make_images()
    b = np.clip(a + np.random.default_rng(3).normal(scale=0.05, size=len(a)), 0, 1)
    difference = paired_differences(Scored(labels, a, patients, 0.5), Scored(labels, b, patients, 0.5), QUICK)
    of_a, of_b = (compute_metrics(Scored(labels, each, patients, 0.5), QUICK) for each in (a, b))
    assert list(difference) == list(PAIRED_METRICS)
    for name in PAIRED_METRICS:
        assert difference[name].value == pytest.approx(of_a[name].value - of_b[name].value)
    assert difference["auroc"].high - difference["auroc"].low < (of_a["auroc"].high - of_a["auroc"].low) / 2
    swapped = paired_differences(Scored(labels, b, patients, 0.5), Scored(labels, a, patients, 0.5), QUICK)["auroc"]
    assert (-swapped.high, -swapped.low) == pytest.approx((difference["auroc"].low, difference["auroc"].high))


def test_a_model_does_not_differ_from_itself_but_for_its_threshold() -> None:
    labels, probabilities, patients = make_images()
    nothing = Metric(value=0, low=0, high=0)
    same = paired_differences(
        Scored(labels, probabilities, patients, 0.5), Scored(labels, probabilities, patients, 0.5), QUICK
    )
    assert all(metric == nothing for metric in same.values())
    lower = paired_differences(
        Scored(labels, probabilities, patients, 0.5), Scored(labels, probabilities, patients, 0.3), QUICK
    )
    assert lower["auroc"] == nothing
    assert lower["sensitivity"].value < 0 < lower["specificity"].value


def test_resamples_of_one_class_are_left_out_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    labels, probabilities, patients = [0, 1, 1, 1], [0.2, 0.9, 0.8, 0.1], ["negative", "a", "b", "b"]
    config = EvaluationConfig(bootstrap=2000)
    with caplog.at_level(logging.WARNING):
        found = compute_metrics(Scored(labels, probabilities, patients, 0.5), config)
    told = re.search(r"(\d+) of 2000 bootstrap resamples held one class only", caplog.text)
    assert told is not None
    assert int(told[1]) / 2000 == pytest.approx(
        (2 / 3) ** 3 + (1 / 3) ** 3, abs=0.03
    )  # never "negative", or nothing else
    assert (found["specificity"].low, found["specificity"].high) == (1, 1)
    assert (found["sensitivity"].low, found["sensitivity"].high) == (0.5, 1)


def test_an_ordinary_set_leaves_no_resample_out(caplog: pytest.LogCaptureFixture) -> None:
    labels, probabilities, patients = make_images()
    compute_metrics(Scored(labels, probabilities, patients, 0.5), QUICK)
    assert not caplog.records


def test_a_patient_with_images_of_both_classes_is_drawn_with_both(caplog: pytest.LogCaptureFixture) -> None:
    found = compute_metrics(Scored([0, 1], [0.2, 0.7], ["same", "same"], 0.5), QUICK)
    assert found["auroc"] == Metric(value=1, low=1, high=1)
    assert not caplog.records


def test_copies_make_no_interval_narrower_and_count_in_the_value() -> None:
    """Forty copies of every image, under as many patients' names, tell no more than the images."""
    labels, probabilities, patients = make_images(60)
    alone = compute_metrics(Scored(labels, probabilities, patients, 0.5), QUICK)
    many = [np.concatenate([values] + 40 * [values]) for values in (labels, probabilities)]
    names = patients + [f"copy {at}" for at in range(40 * len(labels))]
    copies = np.arange(len(names)) >= len(labels)
    found = compute_metrics(Scored(*many, names, 0.5, copies), QUICK)
    naive = compute_metrics(Scored(*many, names, 0.5), QUICK)
    for name, metric in found.items():
        assert (metric.low, metric.high) == pytest.approx((alone[name].low, alone[name].high)), name
        assert metric.value == pytest.approx(naive[name].value)
    assert naive["auroc"].high - naive["auroc"].low < (found["auroc"].high - found["auroc"].low) / 3


def test_a_copy_counts_as_a_row_of_the_value() -> None:
    """The official test folder has 624 rows, copies among them, and published metrics are of 624 rows."""
    copies = [False, False, False, True]
    found = compute_metrics(Scored([0, 1, 1, 1], [0.1, 0.2, 0.9, 0.9], ["n", "a", "b", "b"], 0.5, copies), QUICK)
    assert found["accuracy"].value == 3 / 4
    assert found["sensitivity"].value == pytest.approx(2 / 3)


def test_differences_of_two_models_do_not_draw_copies_either() -> None:
    labels, a, patients = make_images(60)
    b = np.clip(a + np.random.default_rng(3).normal(scale=0.2, size=len(a)), 0, 1)
    alone = paired_differences(Scored(labels, a, patients, 0.5), Scored(labels, b, patients, 0.5), QUICK)
    copies = np.repeat([False, True], len(labels))
    twice = [Scored(np.tile(labels, 2), np.tile(x, 2), patients * 2, 0.5, copies) for x in (a, b)]
    for name, metric in paired_differences(*twice, QUICK).items():
        assert (metric.low, metric.high) == pytest.approx((alone[name].low, alone[name].high)), name


def test_copies_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="copies: shape"):
        compute_metrics(Scored([0, 1], [0.1, 0.2], ["a", "b"], 0.5, [True]), QUICK)


@pytest.mark.parametrize(
    ("labels", "probabilities", "patients", "threshold", "error", "message"),
    [
        ([1, 1], [0.1, 0.2], ["a", "b"], 0.5, DataError, "no NORMAL image among 2"),
        ([0, 0], [0.1, 0.2], ["a", "b"], 0.5, DataError, "no PNEUMONIA image among 2"),
        ([], [], [], 0.5, DataError, "no NORMAL image among 0"),
        ([0, 1], [0.1, math.nan], ["a", "b"], 0.5, DataError, "1 of 2 are not finite, the first at index 1"),
        ([0, 1], [math.inf, 0.5], ["a", "b"], 0.5, DataError, "the first at index 0"),
        ([0, 1], [0.1], ["a", "b"], 0.5, ValueError, r"shape \(1,\) for 2 labels"),
        ([0, 1], [[0.1, 0.2]], ["a", "b"], 0.5, ValueError, "shape"),
        ([0, 1], [0.1, 0.2], ["a"], 0.5, ValueError, "patients: 1 for 2 labels"),
        ([0, 2], [0.1, 0.2], ["a", "b"], 0.5, ValueError, "labels"),
        ([0, math.nan], [0.1, 0.2], ["a", "b"], 0.5, ValueError, "labels"),
        ([0, 1], [-0.1, 0.2], ["a", "b"], 0.5, ValueError, "from -0.1 to 0.2"),
        ([0, 1], [0.1, 1.5], ["a", "b"], 0.5, ValueError, "from 0.1 to 1.5"),
        ([0, 1], [0.1, 0.2], ["a", "b"], 1.5, ValueError, "threshold: 1.5"),
        ([0, 1], [0.1, 0.2], ["a", "b"], math.nan, ValueError, "threshold: nan"),
    ],
)
def test_bad_input_is_refused(
    labels: list[float],
    probabilities: list[float],
    patients: list[str],
    threshold: float,
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        compute_metrics(Scored(labels, probabilities, patients, threshold), QUICK)
    if len(patients) == len(labels):  # the curves take no patients
        with pytest.raises(error, match=message):
            compute_curves(Scored(labels, probabilities, None, threshold))


def test_two_thousand_resamples_are_quick_and_small() -> None:
    labels, probabilities, patients = make_images(624, a_patient=2)
    start = time.process_time()
    compute_metrics(Scored(labels, probabilities, patients, 0.5), EvaluationConfig(bootstrap=2000))
    assert time.process_time() - start < 2
    labels, probabilities, patients = make_images(50_000, a_patient=2)
    tracemalloc.start()
    try:
        compute_metrics(Scored(labels, probabilities, patients, 0.5), QUICK)
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()


@given(labelled, st.integers(0, 16))
@settings(max_examples=40, deadline=None)
def test_curves_enclose_the_areas_and_count_the_images(rows: list[tuple[bool, int, int]], cut: int) -> None:
    labels = np.array([int(label) for label, _, _ in rows])
    probabilities = np.array([value / 16 for _, value, _ in rows])
    found = compute_curves(Scored(labels, probabilities, None, cut / 16))
    auroc = np.trapezoid(found.true_positive_rate, found.false_positive_rate)
    assert auroc == pytest.approx(metrics.roc_auc_score(labels, probabilities))
    assert found.recall[0] == 0
    assert found.recall[-1] == 1
    auprc = np.sum(np.diff(found.recall) * found.precision[1:])
    assert auprc == pytest.approx(metrics.average_precision_score(labels, probabilities))
    assert found.confusion == tuple(map(tuple, metrics.confusion_matrix(labels, probabilities >= cut / 16)))
    assert sum(one.n for one in found.reliability) == len(labels)
    assert all(one.low <= one.predicted <= one.high for one in found.reliability)
    assert sum(one.n * one.observed for one in found.reliability) == pytest.approx(labels.sum())
    assert Curves.model_validate_json(found.model_dump_json()) == found
