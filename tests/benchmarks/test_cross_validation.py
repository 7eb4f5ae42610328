"""The committed cross-validation: consistent in itself, of the recipe that it says, and shown in docs/validity.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.ablation_study import SMALL
from benchmarks.cross_validation import PLACES, SECTIONS
from pneumonia.config.resolve import resolve
from pneumonia.config.schema import Config
from pneumonia.reporting.tables import METRIC_NAMES
from pneumonia.statistics.resampled_mean import resampled_mean

ROOT = Path(__file__).parents[2]
FOUND: dict[str, Any] = json.loads((ROOT / "benchmarks/results/cross_validation.json").read_text())
PAGE = (ROOT / "docs/validity.md").read_text()
SHOWN = ("auroc", "auprc", "accuracy", "sensitivity", "specificity", "ece")


def row(name: str) -> str:
    """Return a metric's row of the page's table."""
    over, pooled = FOUND["metrics"][name], FOUND["pooled"][name]
    cells = (
        METRIC_NAMES[name].partition(",")[0],
        f"{over['mean']:.3f} ± {over['sd']:.3f}",
        f"{over['low']:.3f} to {over['high']:.3f}",
        f"{min(over['values']):.3f} to {max(over['values']):.3f}",
        f"{pooled['value']:.3f} ({pooled['low']:.3f} to {pooled['high']:.3f})",
    )
    return f"| {' | '.join(cells)} |"


def test_the_page_shows_the_committed_result() -> None:
    for name in SHOWN:
        assert row(name) in PAGE
    counts = f"{FOUND['images']:,} images of {FOUND['patients']:,} patients, {FOUND['positives']:,} of PNEUMONIA"
    assert counts in PAGE
    minutes = sum(one["minutes"] for one in FOUND["results"])
    assert f"{minutes:.0f} minutes on one core" in PAGE
    apart = {name: max(FOUND["metrics"][name]["values"]) - min(FOUND["metrics"][name]["values"]) for name in SHOWN}
    words = f"AUROC differs by {apart['auroc']:.3f} from fold to fold, the sensitivity by {apart['sensitivity']:.2f}:"
    assert words in " ".join(PAGE.split())
    assert FOUND["processor"]["features"]


@pytest.mark.parametrize("name", SHOWN)
def test_mean_spread_and_interval_follow_from_the_folds(name: str) -> None:
    each = FOUND["metrics"][name]
    assert each["values"] == [one["metrics"][name]["value"] for one in FOUND["results"]]
    again = resampled_mean(each["values"], FOUND["folds"], 0.95)
    for key in ("mean", "sd", "low", "high"):
        assert getattr(again, key) == pytest.approx(each[key], abs=5e-4)


def test_every_fold_of_every_seed_is_there_once() -> None:
    places = [(one["seed"], one["fold"]) for one in FOUND["results"]]
    assert places == [(seed, fold) for seed in FOUND["seeds"] for fold in range(FOUND["folds"])]
    assert sum(one["images"] for one in FOUND["results"]) == FOUND["images"] * len(FOUND["seeds"])
    assert len({one["weights_digest"] for one in FOUND["results"]}) == len(places)


def test_it_was_measured_with_the_recipe_of_the_profile() -> None:
    now = resolve("full", assignments=["data.root=images", *SMALL], environment={}).model_dump(mode="json")
    usual = Config().model_dump(mode="json")
    for section in SECTIONS:
        wanted = {key: value for key, value in now[section].items() if key not in PLACES | {"threads"}}
        measured = usual[section] | FOUND["settings"][section]  # a setting that came later changes nothing by default
        assert {key: measured[key] for key in wanted} == wanted, section
