"""What docs/scale.md says of one training by several workers is what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.sharding import SIZES, WAYS

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
    for size in SIZES:
        lines += speeds(FOUND["speed"][size])
    for row in FOUND["accuracy"]["rows"]:
        cells = [cell for view in ("as they are", "without shortcuts") for cell in quality(row[view])]
        lines.append(f"| {row['shards']} | {row['micro_batch']} | {' | '.join(cells)} |".replace("|  |", "| |"))
    missing = [line for line in lines if line not in PAGE.splitlines()]
    assert not missing, "\n".join(missing)


def speeds(found: dict[str, Any]) -> list[str]:
    """Return the lines of one table: images a second, quiet and beside a neighbour, and what two workers gain."""
    quiet, busy = found["as it is"], found["beside a neighbour"]
    rows = {way: [when["images_per_second"][way] for when in (quiet, busy)] for way in WAYS}
    two, one, off = WAYS
    for name, way in {"one process": one, "shards off": off}.items():
        rows[f"two workers against {name}"] = [when[f"{two} against"][way] for when in (quiet, busy)]
    return [f"| {way} | {first} | {second} |" for way, (first, second) in rows.items()]


def quality(found: dict[str, Any]) -> list[str]:
    """Return an AUROC, and its difference from that without shards, as the page has them."""
    change = found.get("difference")
    words = f"{change['mean']:.4f} ({change['low']:.4f} to {change['high']:.4f})" if change else ""
    return [f"{found['mean']:.4f} ± {found['sd']:.4f}", words]


def test_two_workers_are_at_least_as_fast_as_two_threads() -> None:
    """On a quiet machine and on a busy one; the page says so, and `train.workers=0` takes them for it."""
    two, one, _ = WAYS
    for size in SIZES:
        for when in ("as it is", "beside a neighbour"):
            assert FOUND["speed"][size][when][f"{two} against"][one] >= 1, (size, when)


def test_every_number_of_workers_has_the_same_digest() -> None:
    assert len({row["digest"] for row in FOUND["parity"]}) == 1
    assert {row["workers"] for row in FOUND["parity"]} == {"1", "2", "4", "2, then 4"}
    assert all(row["same_digest"] and row["exit_code"] == 0 for row in FOUND["kills"])
