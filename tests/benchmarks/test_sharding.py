"""What docs/scale.md says of one training by several workers is what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FOUND: dict[str, Any] = json.loads((ROOT / "benchmarks/results/sharding.json").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs/scale.md").read_text(encoding="utf-8")


def test_the_tables_are_the_committed_results() -> None:
    lines = [f"| {row['launcher']} | {row['workers']} | `{row['digest'][:16]}` |" for row in FOUND["parity"]]
    lines += [
        f"| {row['rank']} | {row['killed_after_step']} | {row['resumed_with_step']} | "
        f"{row['seconds_to_the_next_step']:.0f} s | {'the same' if row['same_digest'] else 'another'} |"
        for row in FOUND["kills"]
    ]
    quiet, busy = (FOUND["speed"][when] for when in ("as it is", "beside a neighbour"))
    pairs = {way: [when["images_per_second"][way] for when in (quiet, busy)] for way in quiet["images_per_second"]}
    pairs["two workers against one process"] = [
        when["two workers against"]["one process of two threads"] for when in (quiet, busy)
    ]
    lines += [f"| {way} | {first} | {second} |" for way, (first, second) in pairs.items()]
    missing = [line for line in lines if line not in PAGE.splitlines()]
    assert not missing, "\n".join(missing)


def test_every_number_of_workers_has_the_same_digest() -> None:
    assert len({row["digest"] for row in FOUND["parity"]}) == 1
    assert {row["workers"] for row in FOUND["parity"]} == {"1", "2", "4", "2, then 4"}
    assert all(row["same_digest"] and row["exit_code"] == 0 for row in FOUND["kills"])
