"""The decision curve, against a count of true and false positives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumonia.statistics.metrics import Scored
from pneumonia.statistics.net_benefit import THRESHOLDS, decision_curve

pairs = st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=4, max_size=40).filter(
    lambda found: len({label for label, _ in found}) == 2
)


def brute_force(labels: list[int], scores: list[float], threshold: float) -> float:
    true = sum(label == 1 and score >= threshold for label, score in zip(labels, scores, strict=True))
    false = sum(label == 0 and score >= threshold for label, score in zip(labels, scores, strict=True))
    return true / len(labels) - false / len(labels) * threshold / (1 - threshold)


@settings(deadline=None, max_examples=40)
@given(pairs)
def test_it_is_the_count_of_vickers_and_elkin(found: list[tuple[int, float]]) -> None:
    labels, scores = [label for label, _ in found], [score for _, score in found]
    for point in decision_curve(Scored(labels, scores)):
        assert point.model == pytest.approx(brute_force(labels, scores, point.threshold), abs=1e-12)
        everybody = brute_force(labels, [1.0] * len(labels), point.threshold)
        assert point.all_positive == pytest.approx(everybody, abs=1e-12)


def test_a_perfect_model_has_the_prevalence_everywhere() -> None:
    labels = [1] * 3 + [0] * 7
    curve = decision_curve(Scored(labels, [float(label) for label in labels]))
    assert [point.model for point in curve] == pytest.approx([0.3] * len(THRESHOLDS))


def test_at_a_prevalence_images_weigh_and_probabilities_move_by_its_odds() -> None:
    """The same as images repeated until the prevalence is there, with probabilities shifted by hand."""
    labels, scores = [1, 1, 0, 0], [0.9, 0.4, 0.55, 0.05]
    repeated = [1, 1] + [0, 0] * 4
    shifted = [p * 0.2 / (p * 0.2 + (1 - p) * 0.8) for p in (0.9, 0.4, *(0.55, 0.05) * 4)]
    found = decision_curve(Scored(labels, scores), prevalence=0.2)
    expected = [brute_force(repeated, shifted, point.threshold) for point in found]
    assert [point.model for point in found] == pytest.approx(expected)
    assert found[9].all_positive == pytest.approx(0.2 - 0.8 / 9)


def test_equal_odds_change_nothing() -> None:
    rng = np.random.default_rng(0)
    scored = Scored([0, 1] * 20, rng.uniform(size=40))
    assert [p.model for p in decision_curve(scored, 0.5)] == pytest.approx([p.model for p in decision_curve(scored)])
