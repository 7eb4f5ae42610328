"""A tail is continued as an exponential one goes on."""

from __future__ import annotations

import numpy as np
import pytest

from pneumonia.statistics.tail import Tail


def test_an_exponential_tail_is_continued() -> None:
    tail = Tail.fit(np.random.default_rng(0).exponential(2.0, 20_000))
    assert tail.value(-np.log(1e-4)) == pytest.approx(-2 * np.log(1e-4), rel=0.05)


def test_value_and_rarity_are_inverse() -> None:
    tail = Tail(start=3.0, scale=0.5)
    assert tail.value(float(tail.rarity(4.2))) == pytest.approx(4.2)
    assert float(tail.rarity(3.0)) == pytest.approx(-np.log(0.1))


def test_a_constant_has_a_tail() -> None:
    assert Tail.fit(np.ones(100)).start == 1
