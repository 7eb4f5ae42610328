"""Distances and areas against scipy's and the library's own paired comparison."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pneumonia.statistics.two_samples import Ranked, area, effective_size, placements, wilson


@pytest.mark.parametrize("ties", [False, True])
def test_the_distance_is_scipys(ties: bool) -> None:
    random = np.random.default_rng(1)
    first, second = random.normal(size=(80, 3)), random.normal(0.3, 1.2, size=(50, 3))
    if ties:
        first, second = np.round(first), np.round(second)
    both = Ranked.of(np.concatenate([first, second]))
    weights = np.concatenate([np.ones(80), np.zeros(50)])
    found = both.distance(weights, 1 - weights)
    expected = [stats.ks_2samp(first[:, at], second[:, at]).statistic for at in range(3)]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_weight_is_a_number_of_copies() -> None:
    random = np.random.default_rng(2)
    first, second = random.normal(size=30), random.normal(size=20)
    weights = random.integers(1, 5, 30)
    ranked = Ranked.of(np.concatenate([first, second])[:, None])
    found = ranked.distance(
        np.concatenate([weights, np.zeros(20)]).astype(float), np.concatenate([np.zeros(30), np.ones(20)])
    )
    assert found[0] == pytest.approx(stats.ks_2samp(np.repeat(first, weights), second).statistic)
    assert effective_size(np.ones(7)) == 7
    assert effective_size(np.array([1.0, 0.0, 1.0])) == 2


def test_the_area_and_its_interval() -> None:
    random = np.random.default_rng(3)
    positive, negative = random.normal(1, 1, 60), random.normal(0, 1, 90)
    found = area(*placements(positive, negative))
    u = stats.mannwhitneyu(positive, negative).statistic
    assert found.value == pytest.approx(u / (60 * 90))
    above = np.array([(one > negative).mean() for one in positive])
    below = np.array([(one < positive).mean() for one in negative])
    half = 1.959964 * np.sqrt(above.var(ddof=1) / 60 + below.var(ddof=1) / 90)
    assert (found.high - found.low) / 2 == pytest.approx(half)


def test_weighted_negatives() -> None:
    positive, negative = np.array([1.0, 3.0]), np.array([0.0, 2.0])
    above, below = placements(positive, negative, np.array([3.0, 1.0]))
    assert above.tolist() == [0.75, 1.0]
    assert below.tolist() == [1.0, 0.5]
    assert area(above, below, np.array([3.0, 1.0])).value == pytest.approx(0.875)
    alone = area(*placements(np.array([1.0]), negative))
    assert alone.low == alone.value == alone.high


def test_wilson() -> None:
    """Of 10 in 100, as scipy has it; and it has a width at 0."""
    expected = stats.binomtest(10, 100).proportion_ci(method="wilson")
    assert wilson(0.1, 100) == pytest.approx((expected.low, expected.high), abs=1e-6)
    assert wilson(0.0, 50)[1] > 0.05
