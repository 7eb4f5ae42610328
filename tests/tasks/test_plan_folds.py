"""The plan of a cross-validation: a configuration for every seed and fold."""

from __future__ import annotations

from pathlib import Path

import pytest

from pneumonia.errors import ConfigError
from tasks.plan_folds import plan_folds
from tests.support.small import small


def test_every_seed_has_every_fold_and_nothing_else_differs(tmp_path: Path) -> None:
    config = small(tmp_path)
    planned = plan_folds(config, [4, 0], 3)
    assert [(one.train.seed, one.data.split_seed, one.data.fold) for one in planned] == [
        (seed, seed, fold) for seed in (4, 0) for fold in range(3)
    ]
    assert {one.data.folds for one in planned} == {3}
    changed = {"data": {"folds", "fold", "split_seed"}, "train": {"seed"}}
    assert {one.model_dump_json(exclude=changed) for one in planned} == {config.model_dump_json(exclude=changed)}


@pytest.mark.parametrize(
    ("seeds", "folds", "settings", "words"),
    [
        ([], 5, (), "seeds: none"),
        ([1, 1], 5, (), "each once"),
        ([-1], 5, (), "a seed is in 0 to"),
        ([0], 1, (), "folds: 1 is outside 2 to 100"),
        ([0], 101, (), "folds: 101 is outside 2 to 100"),
        ([0], 5, ("train.seed=3",), "train.seed=3: a cross-validation sets these"),
        ([0], 5, ("data.folds=2", "data.fold=1"), "data.folds=2, data.fold=1: a cross-validation sets these"),
    ],
)
def test_what_cannot_be_planned_is_refused(
    tmp_path: Path, seeds: list[int], folds: int, settings: tuple[str, ...], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        plan_folds(small(tmp_path, *settings), seeds, folds)
