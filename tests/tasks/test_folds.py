"""The plan of a cross-validation, and the audit of its folds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pneumonia.config.recipe import of_fold
from pneumonia.errors import ConfigError, DataError
from pneumonia.imaging.refusal import PHANTOM_COMMENT
from tasks import prepare_data as prepare
from tasks.measure_folds import _located, needs
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


@pytest.mark.parametrize(
    ("settings", "devices", "workers", "taken"),
    [
        (("train.threads=0",), 0, 0, (16, 0)),
        (("train.threads=3",), 0, 0, (3, 0)),
        (("train.threads=0", "train.shards=4"), 0, 1, (1, 0)),
        (("train.threads=3", "train.shards=4"), 2, 1, (3, 1)),
        (("train.threads=3", "train.shards=4", "train.workers=2"), 2, 2, (6, 2)),
    ],
)
def test_a_fold_on_a_cluster_takes_what_its_processes_use(
    tmp_path: Path, settings: tuple[str, ...], devices: int, workers: int, taken: tuple[float, float]
) -> None:
    cluster: Any = SimpleNamespace(smallest={"CPU": 16, "GPU": devices}.get, check_room=lambda *needed: None)
    located = _located(small(tmp_path, *settings), "sqlite:///tracking.db")
    assert located.train.workers == workers
    assert needs(cluster, located) == taken


def test_all_folds_are_audited_once_and_the_report_counts_each(
    work: Path, phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(work, f"data.root={phantoms}", "registry.name=pneumonia-tiny-phantom")
    first = prepare.prepare_data(of_fold(config, 0, 3, 0))
    report = json.loads(Path(first.audit).read_text())
    parts = {row["part"] for row in report["counts"]["examples"]}
    assert {"split fold 1", "split fold 2", "split fold 3", "split gate", "split test"} <= parts
    monkeypatch.setattr(prepare, "audit", lambda *_: pytest.fail("was audited before"))
    second = prepare.prepare_data(of_fold(config, 0, 3, 1))
    assert (second.audit, second.pixels, second.digest) == (first.audit, first.pixels, first.digest)
    assert second.split_digest != first.split_digest


def test_a_near_duplicate_in_two_folds_stops_every_fold(work: Path, phantoms: Path, tmp_path: Path) -> None:
    root = tmp_path / "chest_xray"
    shutil.copytree(phantoms, root)
    source = sorted((root / "train/NORMAL").iterdir())[0]
    pixels = np.asarray(Image.open(source).convert("L"))
    for number in range(8):  # another exposure of the same image under other names, some in another fold
        changed = Image.fromarray(np.clip(pixels * (0.9 + number / 100), 0, 255).astype(np.uint8))
        changed.save(root / f"train/NORMAL/IM-{9000 + number}-0001.jpeg", quality=95, comment=PHANTOM_COMMENT)
    config = small(work, f"data.root={root}", "registry.name=pneumonia-tiny-phantom", "data.gate_fraction=0")
    for fold in (0, 1):  # the second one finds the report of the first
        with pytest.raises(DataError, match="near_duplicates_across_splits"):
            prepare.prepare_data(of_fold(config, 0, 2, fold))
