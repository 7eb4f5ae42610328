"""Metrics without labels: right where probabilities mean what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pneumonia.monitoring.detector import Detector
from pneumonia.monitoring.estimated import estimate_metrics, expected_band, expected_metrics, measure_metrics
from pneumonia.monitoring.sample import UNKNOWN
from pneumonia.monitoring.settings import DriftSettings
from pneumonia.records.drift import METRICS
from tests.support.drifting import Place, draw


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(draw(600, 1), DriftSettings(sizes=(100,), resamples=100))


def test_certain_probabilities_are_labels() -> None:
    """Six images, of which one positive is missed."""
    truth = np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    scores = np.array([0.1, 0.2, 0.6, 0.5, 0.8, 0.9])
    found = expected_metrics(truth, scores, scores >= 0.55, np.ones((1, 6)))
    assert found["accuracy"][0] == pytest.approx(4 / 6)
    assert found["sensitivity"][0] == pytest.approx(2 / 3)
    assert found["specificity"][0] == pytest.approx(2 / 3)
    assert found["auroc"][0] == pytest.approx(8 / 9)


def test_the_expected_area_is_that_of_drawn_labels() -> None:
    random = np.random.default_rng(0)
    probabilities = random.random(60)
    found = expected_metrics(probabilities, probabilities, probabilities >= 0.5, np.ones((1, 60)))
    drawn = random.random((4000, 60)) < probabilities
    pairs = probabilities[:, None] > probabilities[None]
    won = np.einsum("bi,bj,ij->", 1.0 * drawn, 1.0 * ~drawn, 1.0 * pairs) / (drawn.sum(1) * (~drawn).sum(1)).sum()
    assert found["auroc"][0] == pytest.approx(won, abs=0.01)
    assert found["accuracy"][0] == pytest.approx((drawn == (probabilities >= 0.5)).mean(), abs=0.01)


@pytest.mark.parametrize(("place", "moved"), [(Place(), None), (Place(prevalence=0.25), 0.25)])
def test_the_estimate_is_near_the_truth(detector: Detector, place: Place, moved: float | None) -> None:
    window = draw(1000, 2, place)
    estimated = estimate_metrics(detector, window, moved)
    measured, labels = measure_metrics(window)
    assert labels == 1000
    assert set(estimated) == set(measured) == set(METRICS)
    for name, metric in measured.items():
        assert estimated[name].value == pytest.approx(metric.value, abs=0.035), name
        assert estimated[name].low <= estimated[name].value <= estimated[name].high


def test_the_band_holds_windows_of_the_reference(detector: Detector) -> None:
    wide, narrow = expected_band(detector, 100), expected_band(detector, 1000)
    inside = [
        band.low <= estimate_metrics(detector, draw(100, 50 + seed))["accuracy"].value <= band.high
        for seed in range(40)
        for band in [wide["accuracy"]]
    ]
    assert sum(inside) >= 33
    assert wide["accuracy"].high - wide["accuracy"].low > narrow["accuracy"].high - narrow["accuracy"].low


def test_labels_of_one_class_measure_what_they_can() -> None:
    window = draw(50, 3)
    positives = replace(window, labels=np.where(window.labels == 1, 1, UNKNOWN).astype(np.int8))
    found, labels = measure_metrics(positives)
    assert set(found) == {"accuracy", "sensitivity"}
    assert labels == int((window.labels == 1).sum())
    assert measure_metrics(replace(window, labels=np.full(50, UNKNOWN, np.int8))) == ({}, 0)
