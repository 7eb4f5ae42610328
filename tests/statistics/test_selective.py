"""Answers where the model is certain, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pneumonia.config.schema import EvaluationConfig
from pneumonia.statistics.metrics import Scored
from pneumonia.statistics.selective import CUTS, automatic_negatives, certainty, selective

CONFIG = EvaluationConfig(bootstrap=100)


def test_certainty_is_the_distance_in_log_odds() -> None:
    odds = np.log(np.array([0.9, 0.2, 0.1]) / np.array([0.1, 0.8, 0.9]))
    assert certainty(np.array([0.9, 0.2, 0.1]), 0.2) == pytest.approx(abs(odds - odds[1]))
    assert np.isfinite(certainty(np.array([0.0, 1.0]), 0.5)).all()


def test_errors_among_the_most_certain_by_hand() -> None:
    """Ten images, in the order of certainty: the third and the last two are wrong."""
    scores = [0.01, 0.98, 0.97, 0.04, 0.95, 0.06, 0.9, 0.2, 0.6, 0.45]
    labels = [0, 1, 0, 0, 1, 0, 1, 0, 0, 1]
    order = np.random.default_rng(3).permutation(10)
    found = selective(Scored(np.array(labels)[order], np.array(scores)[order]), CONFIG)
    by = {point.coverage: point for point in found}
    assert [by[share].images for share in (1.0, 0.5, 0.2, 0.1)] == [10, 5, 2, 1]
    assert by[1.0].error.value == pytest.approx(0.3)
    assert by[0.8].error.value == pytest.approx(1 / 8)
    assert by[0.3].error.value == pytest.approx(1 / 3)
    assert by[0.2].error.value == 0
    assert by[0.2].error.high == pytest.approx(1 - 0.025 ** (1 / 2)), "exact: no error in two is no certainty"


def test_automatic_negatives_are_counted_and_bounded() -> None:
    scores = [0.001] * 60 + [0.03] * 40 + [0.7] * 30
    labels = [0] * 60 + [0] * 38 + [1] * 2 + [1] * 30
    copies = [False] * 59 + [True] + [False] * 70
    found = automatic_negatives(Scored(labels, scores, None, 0.4, copies), CONFIG)
    assert [each.below for each in found] == [*(cut for cut in CUTS if cut < 0.4), 0.4]
    first, last = found[0], found[-1]
    assert (first.images, first.missed, first.npv) == (60, 0, 1.0)
    assert first.npv_low == pytest.approx(0.05 ** (1 / 59)), "a copy is no further observation"
    assert (last.images, last.missed, last.npv) == (100, 2, 0.98)
    assert last.share == pytest.approx(100 / 130)


def test_none_below_has_no_value() -> None:
    (*_, last) = automatic_negatives(Scored([0, 1], [0.8, 0.9], None, 0.5), CONFIG)
    assert (last.images, last.npv, last.npv_low) == (0, None, None)
