"""The page about scale says what the arithmetic computes from the committed results, and nothing else."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.loaded import loaded

ROOT = Path(__file__).parents[2]
FOUND: dict[str, Any] = json.loads((ROOT / "benchmarks/results/cluster.json").read_text())
PAGE = (ROOT / "docs/scale.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def arithmetic() -> ModuleType:
    return loaded(ROOT / "benchmarks/scale_arithmetic.py")


def test_the_page_holds_what_the_script_computes(arithmetic: ModuleType) -> None:
    parts = arithmetic.tables(arithmetic.costs())
    assert arithmetic.filled(PAGE, parts) == PAGE
    assert PAGE.count("<!-- scale_arithmetic: ") == len(parts)
    assert PAGE.count(arithmetic.END) == len(parts)


def test_the_bottleneck_changes_where_the_page_says(arithmetic: ModuleType) -> None:
    cost = arithmetic.costs()
    for bound, name in ((arithmetic.driver_bound(cost), "driver"), (arithmetic.network_bound(cost), "network")):
        for cores, longer in ((bound + 1, True), (bound - 1, False)):
            each = arithmetic.archive_seconds(cost, 10**6, cores)
            assert (each[name] > each["workers"]) is longer
    twice = dataclasses.replace(cost, score=2 * cost.score)
    assert arithmetic.driver_bound(twice) == pytest.approx(2 * arithmetic.driver_bound(cost), abs=1)


def test_the_result_names_what_it_was_measured_on_and_keeps_its_aims() -> None:
    growth = FOUND["growth"]
    assert {"features", "cores", "load", "versions"} <= FOUND.keys()
    assert len(growth["loads"]) >= 2 * len(growth["efficiencies"])
    pairs = zip(growth["runs"]["one"], growth["runs"]["two"], strict=True)
    assert growth["efficiencies"] == [round(two["per_second"] / (2 * one["per_second"]), 3) for one, two in pairs]
    assert FOUND["aims"]["equal though a node was killed"]
    assert {each["what"] for each in FOUND["killed"]} == {"archive", "cross-validation"}
    assert all(each["nodes_left"] == 1 for each in FOUND["killed"])
    if not FOUND["aims"]["efficiency of two workers at least 0.85"]:
        assert re.search(r"below the aim of 0\.85", PAGE)
