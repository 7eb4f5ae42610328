"""Calibration and prevalence where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from pneumonia.statistics.prevalence import LIMITS, Calibration, estimate_prevalence, log_odds, logistic


def drawn(count: int, prevalence: float, seed: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Scores of two normal distributions, two deviations apart: the log odds are 2 x, less the prior's."""
    random = np.random.default_rng(seed)
    labels = (random.random(count) < prevalence).astype(np.int8)
    return random.normal(2.0 * labels - 1.0), labels


def test_the_curve_is_that_of_the_scores() -> None:
    scores, labels = drawn(20_000, 0.3, 0)
    found = Calibration.fit(scores, labels)
    assert found.slope == pytest.approx(2, abs=0.1)
    assert found.offset == pytest.approx(log_odds(0.3), abs=0.1)
    assert found.prevalence == pytest.approx(0.3, abs=0.02)
    assert found.probabilities(scores).mean() == pytest.approx(labels.mean(), abs=0.005)


def test_separated_classes_have_a_finite_curve() -> None:
    found = Calibration.fit(np.array([-3.0, -2.0, 2.0, 3.0]), np.array([0, 0, 1, 1]))
    assert 0 < found.slope < 100
    assert 0.5 < found.probabilities(np.array([2.5]))[0] < 1


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="both classes"):
        Calibration.fit(np.zeros(3), np.ones(3, np.int8))


@pytest.mark.parametrize("prevalence", [0.1, 0.4, 0.8])
def test_the_prevalence_is_found_without_a_label(prevalence: float) -> None:
    calibration = Calibration.fit(*drawn(5000, 0.6, 1))
    scores, labels = drawn(5000, prevalence, 2)
    found = estimate_prevalence(calibration.ratios(scores), np.ones((1, 5000)), calibration.prevalence)
    assert found[0] == pytest.approx(labels.mean(), abs=0.03)
    assert calibration.probabilities(scores, float(found[0])).mean() == pytest.approx(labels.mean(), abs=0.03)


def test_a_sample_of_one_class_stays_within_the_limits() -> None:
    found = estimate_prevalence(np.full(50, 1e6), np.ones((2, 50)), 0.5)
    assert found.tolist() == [LIMITS[1]] * 2


def test_logistic_and_log_odds_are_inverse() -> None:
    assert logistic(np.array([log_odds(0.2)]))[0] == pytest.approx(0.2)
    assert logistic(np.array([-1e4, 1e4])).tolist() == [0, 1]
