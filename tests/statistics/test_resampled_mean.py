"""The corrected interval, against the formula written out, and against what it is for: folds that agree too well."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from scipy import stats

from pneumonia.statistics.resampled_mean import resampled_mean

VALUES = (0.91, 0.93, 0.90, 0.95, 0.92)


def test_it_is_the_formula_of_the_paper() -> None:
    found = resampled_mean(VALUES, folds=5, confidence=0.95)
    assert found.mean == pytest.approx(statistics.mean(VALUES))
    assert found.sd == pytest.approx(statistics.stdev(VALUES))
    half = 2.7764451 * math.sqrt((1 / 5 + 1 / 4) * statistics.variance(VALUES))  # t of 4 degrees of freedom, in a table
    assert (found.low, found.high) == pytest.approx((found.mean - half, found.mean + half), abs=1e-6)
    assert found.values == VALUES


def test_more_seeds_do_not_make_it_as_narrow_as_independent_values_would() -> None:
    repeated = VALUES * 20
    found = resampled_mean(repeated, folds=5, confidence=0.95)
    usual = stats.t.interval(0.95, 99, statistics.mean(repeated), statistics.stdev(repeated) / 10)
    assert found.high - found.low > 4 * (usual[1] - usual[0])


def test_an_interval_ends_at_0_and_1() -> None:
    found = resampled_mean((0.0, 1.0), folds=2, confidence=0.95)
    assert (found.low, found.high) == (0.0, 1.0)


def test_it_covers_the_mean_of_folds_that_share_an_error() -> None:
    """With the correlation 1/k that the correction assumes, 95 of 100 intervals hold the true mean."""
    rng, folds, draws = np.random.default_rng(0), 5, 2000
    shared = rng.normal(0, math.sqrt(1 / folds), (draws, 1))
    own = rng.normal(0, math.sqrt(1 - 1 / folds), (draws, folds))
    intervals = [resampled_mean((0.5 + 0.01 * row).tolist(), folds, 0.95) for row in shared + own]
    covered = sum(one.low <= 0.5 <= one.high for one in intervals) / draws
    assert covered == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(("values", "folds"), [((0.9,), 5), ((0.9, 0.8), 1)])
def test_one_value_or_fold_has_no_spread(values: tuple[float, ...], folds: int) -> None:
    with pytest.raises(ValueError, match="two values"):
        resampled_mean(values, folds, 0.95)
