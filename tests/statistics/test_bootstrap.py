"""Resamples and intervals: blocks that stay small, both classes, and the exact number of those left out."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from pneumonia.config.schema import EvaluateConfig
from pneumonia.statistics import bootstrap
from pneumonia.statistics.bootstrap import Sample, intervals


def sample(n: int = 40) -> Sample:
    return Sample.of(np.arange(n) % 2, [str(row // 2) for row in range(n)])


def test_blocks_hold_few_numbers_and_all_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "_BLOCK", 400)
    blocks = list(sample().resamples(EvaluateConfig(bootstrap=105)))
    assert [len(block) for block in blocks] == [10] * 10 + [5], "400 numbers of 40 images"
    assert {int(total) for block in blocks for total in block.sum(axis=1)} == {20}, "as many patients as there are"


def test_a_block_is_one_resample_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "_BLOCK", 1)
    assert [len(block) for block in sample().resamples(EvaluateConfig(bootstrap=100))] == [1] * 100


def test_the_number_of_resamples_left_out_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    """One patient of each class: half of all resamples hold one class only."""
    two = Sample.of([0, 1], ["a", "b"])
    config = EvaluateConfig(bootstrap=200)
    whole = sum(int(two.both_classes(counts).sum()) for counts in two.resamples(config))
    with caplog.at_level(logging.WARNING):
        (found,) = intervals(two, lambda counts: counts[:, :1].T.astype(float), config)
    assert f"{200 - whole} of 200" in caplog.text
    assert 70 < whole < 130
    assert (found.value, found.low, found.high) == (1, 1, 1), "each that is left holds either patient once"


def test_the_tails_are_as_wide_as_the_coverage_leaves() -> None:
    score = sample()
    for confidence in (0.6, 0.9):
        config = EvaluateConfig(bootstrap=1000, confidence=confidence)
        drawn = np.concatenate([block[:, 0] for block in score.resamples(config)])
        (found,) = intervals(score, lambda counts: counts[:, :1].T.astype(float), config)
        low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
        assert (found.low, found.high) == (low, high)
