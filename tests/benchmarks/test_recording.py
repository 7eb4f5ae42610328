"""What docs/monitoring.md says of the cost of recording is what was measured, and that meets the aims."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FOUND: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / "recording.json").read_text(encoding="utf-8"))
PAGE = " ".join((ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8").split())


def test_the_figures_are_the_committed_ones() -> None:
    cost, query = FOUND["cost"], FOUND["query"]
    for words in (
        f"keeps {100 * cost['throughput']:.1f} % of its throughput",
        f"for {100 * cost['cpu_ms']['more']:.1f} % more processor time an answer",
        f"the window of {query['window']:,} images is read from {query['events']:,} stored events in "
        f"{1000 * query['seconds']:.0f} ms",
        f"The processor: {FOUND['machine']}, {', '.join(FOUND['features'])}.",
    ):
        assert words in PAGE, words


def test_the_aims_are_met() -> None:
    assert FOUND["aims"]
    assert all(FOUND["aims"].values()), FOUND["aims"]
