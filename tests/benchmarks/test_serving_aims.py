"""Aims that are not met are reported as such."""

from __future__ import annotations

import copy
from typing import Any

from benchmarks.serving_aims import aims

FOUND: dict[str, Any] = {
    "features": ["avx2", "avx512_vnni"],
    "bare": 120.0,
    "servers": {
        "pneumonia": {"per_second": 100.0, "ready_seconds": 1.0},
        "fastapi": {"per_second": 20.0},
        "mlflow": {"per_second": 30.0},
        "bentoml": {"per_second": 40.0},
    },
    "older": {"bare": 50.0, "servers": {"pneumonia": {"per_second": 40.0}, "fastapi": {"per_second": 20.0}}},
    "half_load": {"ms_200": {"p50": 20.0, "p99": 60.0}},
    "overload": {"per_second": 85.0},
    "memory_after": {"rss_mib": 210.0},
    "several_processes": 105.0,
}


def test_all_aims_are_met() -> None:
    assert all(row["met"] for row in aims(FOUND))
    assert len(aims(FOUND)) == 10


def test_what_is_missed_is_said() -> None:
    found = copy.deepcopy(FOUND)
    found["servers"]["bentoml"]["per_second"] = 60.0
    found["overload"]["per_second"] = 79.0
    missed = [row["what"] for row in aims(found) if not row["met"]]
    assert missed == ["times as many as the best of the others", "answers at 3 times the peak, share of it"]


def test_without_vnni_the_ratios_are_those_of_older_processors() -> None:
    found = copy.deepcopy(FOUND)
    found["features"] = ["avx2"]
    found["servers"]["fastapi"]["per_second"] = 49.0
    assert all(row["met"] for row in aims(found))
