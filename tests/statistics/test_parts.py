"""Metrics of parts, against scipy's exact intervals and against the metrics of all images."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from pneumonia.config.schema import EvaluationConfig
from pneumonia.statistics.metrics import Scored, compute_metrics
from pneumonia.statistics.parts import Part, exact_interval, exact_lower, part_metrics, rate

CONFIG = EvaluationConfig(bootstrap=2000)


def scored(n: int = 240, seed: int = 0) -> Scored:
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.integers(0, 2, n // 2), 2)
    scores = np.round(np.clip(0.3 + 0.4 * labels + rng.normal(0, 0.25, n), 0, 1), 2)
    return Scored(labels, scores, [f"p{at // 2}" for at in range(n)])


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (1, 10), (9, 10), (10, 10), (120, 125), (125, 125)])
def test_exact_bounds_are_scipys(hits: int, n: int) -> None:
    both = binomtest(hits, n).proportion_ci(0.95, "exact")
    assert exact_interval(hits, n, 0.95) == pytest.approx((both.low, both.high), abs=1e-9)
    lower = binomtest(hits, n, alternative="greater").proportion_ci(0.95, "exact").low
    assert exact_lower(hits, n, 0.95) == pytest.approx(lower, abs=1e-9)


def test_none_of_125_wrong_is_the_published_bound() -> None:
    """All of 125 right: the root of 5 % (the rule of three gives 0.976)."""
    assert exact_lower(125, 125, 0.95) == pytest.approx(0.05 ** (1 / 125))


def test_all_images_give_the_metrics_of_all_images() -> None:
    found, expected = part_metrics(Part.of(scored()), CONFIG), compute_metrics(scored(), CONFIG)
    assert found["auroc"] == expected["auroc"], "the same resamples, computed in another way"
    for name in ("sensitivity", "specificity"):
        assert found[name].value == pytest.approx(expected[name].value)
        assert found[name].low == pytest.approx(expected[name].low, abs=0.02)
        assert found[name].high == pytest.approx(expected[name].high, abs=0.02)


def test_copies_count_in_values_and_not_in_intervals() -> None:
    plain = scored()
    labels, scores = np.asarray(plain.labels), np.asarray(plain.probabilities)
    again = Scored(
        np.tile(labels, 2), np.tile(scores, 2), [*(plain.patients or ())] * 2, copies=np.repeat([False, True], 240)
    )
    found, expected = part_metrics(Part.of(again), CONFIG), part_metrics(Part.of(plain), CONFIG)
    for name, metric in expected.items():
        assert found[name].model_dump() == pytest.approx(metric.model_dump()), name
    copies_alone = Part.of(again).take(np.repeat([False, True], 240))
    assert rate(copies_alone, CONFIG).value == pytest.approx(rate(Part.of(plain), CONFIG).value)


def test_a_part_of_one_class_has_that_classes_metric_alone() -> None:
    part = Part.of(scored())
    assert set(part_metrics(part.take(part.positive), CONFIG)) == {"sensitivity"}
    assert set(part_metrics(part.take(~part.positive), CONFIG)) == {"specificity"}


def test_a_rate_without_an_error_has_a_width_that_patients_give() -> None:
    sure = Part.of(Scored([1] * 20, [0.9] * 20, [f"p{at // 2}" for at in range(20)]))
    found = rate(sure, CONFIG)
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(0.025 ** (1 / 10)), "ten patients, not twenty images"
    errors = rate(sure, CONFIG, of_errors=True)
    assert (errors.value, errors.low) == (0, 0)
    assert errors.high == pytest.approx(1 - 0.025 ** (1 / 10))
