"""The classifier that tells two samples apart finds a shift and nothing where there is none."""

from __future__ import annotations

import numpy as np

from pneumonia.statistics.discriminant import Labelled, domain_area

FOLDS = 5


def labelled(values: np.ndarray, weights: np.ndarray | None = None) -> Labelled:  # type: ignore[type-arg]
    count = len(values)
    return Labelled(values, np.arange(count) * FOLDS // count, np.ones(count) if weights is None else weights)


def test_a_shift_is_found_as_well_as_the_best_line_can() -> None:
    random = np.random.default_rng(0)
    reference, window = random.normal(size=(600, 8)), random.normal(size=(400, 8))
    window[:, 3] += 1
    found = domain_area(labelled(reference), labelled(window), FOLDS)
    assert abs(found.value - 0.7602) < 0.04  # the normal distribution's at one deviation / sqrt(2)
    assert found.low < 0.7602 < found.high


def test_no_shift_is_near_a_half() -> None:
    random = np.random.default_rng(1)
    found = [
        domain_area(labelled(random.normal(size=(200, 6))), labelled(random.normal(size=(150, 6))), FOLDS).value
        for _ in range(40)
    ]
    assert 0.45 < np.mean(found) < 0.52


def test_weights_undo_a_change_of_mix() -> None:
    random = np.random.default_rng(2)
    kinds = np.arange(800) % 2
    reference = random.normal(size=(800, 4)) + 2 * kinds[:, None]
    rare = random.random(500) < 0.2
    window = random.normal(size=(500, 4)) + 2 * rare[:, None]
    unweighted = domain_area(labelled(reference), labelled(window), FOLDS)
    weighted = domain_area(labelled(reference, np.where(kinds, 0.4, 1.6)), labelled(window), FOLDS)
    assert unweighted.value > 0.6
    assert abs(weighted.value - 0.5) < 0.05


def test_a_dimension_without_variance_does_no_harm() -> None:
    random = np.random.default_rng(3)
    values = np.concatenate([random.normal(size=(100, 2)), np.zeros((100, 1))], axis=1)
    assert 0.3 < domain_area(labelled(values[:50]), labelled(values[50:]), FOLDS).value < 0.7
