"""Measure what recording costs the service, and how long the queries of monitoring take.

python benchmarks/recording.py --export FOLDER --originals FOLDER [--rounds N] [--seconds S]

The same service answers in turns with recording and without, from the same files, in one run; its processor time an
answer is compared besides, because that holds on a busy machine too. Then the window of a look at drift is read from a
database of a million events.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import uuid
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import servers
from processor import processor, versions
from serving import Bench

from pneumonia.data.listing import list_files
from pneumonia.monitoring.database import Database
from pneumonia.monitoring.events import Event, add_events, read_window
from pneumonia.monitoring.window import sample_of
from pneumonia.tracking.database import database_uri

FILES = 24
MOST_COST, WINDOW_SECONDS = 0.05, 1.0
"""Aims: the share of its throughput that recording may cost, and the time of the window's query."""
WINDOW, MODELS = 1000, 4


def rounds(bench: Bench, work: Path, count: int) -> dict[str, Any]:
    """Measure with recording and without in turns; a first pair warms up."""
    kinds = {"recording": True, "not recording": False}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in kinds}
    for number in range(count + 1):
        order = list(kinds.items())[:: 1 if number % 2 else -1]
        for name, recorded in order:
            server = servers.ours(work, f"monitoring.record={str(recorded).lower()}")
            run = bench.peak(name.replace(" ", "_"), server, older=False)
            if number:
                found[name].append({key: run[key] for key in ("per_second", "cpu_ms_an_answer")})
    pairs = zip(found["recording"], found["not recording"], strict=True)
    with_, without = (median(run["cpu_ms_an_answer"] for run in found[name]) for name in kinds)
    return {
        "runs": found,
        "throughput": round(median(one["per_second"] / other["per_second"] for one, other in pairs), 3),
        "cpu_ms": {"recording": with_, "not recording": without, "more": round(with_ / without - 1, 3)},
    }


def window(place: Path, count: int) -> dict[str, Any]:
    """Read the last events of a model among many, and turn them into arrays."""
    rng = np.random.default_rng(0)
    database = Database(database_uri(place / "events.db"))
    embeddings = rng.random((512, 512)).astype(np.float16)
    statistics = rng.random((512, 30)).astype(np.float32)
    began = time.perf_counter()
    for start in range(0, count, 10_000):
        add_events(database, [_event(at, embeddings, statistics) for at in range(start, min(count, start + 10_000))])
    stored = time.perf_counter() - began
    times = []
    for _ in range(5):
        began = time.perf_counter()
        rows = read_window(database, "0" * 64, WINDOW)
        sample_of(rows, {}, 512, 0.5)
        times.append(time.perf_counter() - began)
    size = (place / "events.db").stat().st_size
    database.close()
    return {
        "events": count,
        "megabytes": round(size / 1e6),
        "stored_per_second": round(count / stored),
        "window": len(rows),
        "seconds": round(median(times), 4),
    }


def _event(at: int, embeddings: Any, statistics: Any) -> Event:
    model = str(at % MODELS) * 64
    return Event(
        event_id=uuid.uuid4().hex, at=float(at), request_id=f"r{at}", position=0, name="pneumonia", version="1",
        model_digest=model, precision="int8", threshold=0.5, code="", familiar=True, percentile=3.0, probability=0.4,
        margin=-0.4, decision="NORMAL", checks={"size": [1000, 1200], "encoding": "jpeg"},
        statistics=statistics[at % 512].tobytes(), embedding=embeddings[at % 512].tobytes(),
    )  # fmt: skip


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Run everything, and hold it against the aims."""
    load = round(os.getloadavg()[0], 2)
    files = sorted(list_files(given.originals).images)
    files = files[:: max(1, len(files) // FILES)][:FILES]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        servers.write_mirror(given.export, place / "work")
        cost = rounds(Bench(place, files, given.seconds), place / "work", given.rounds)
        query = window(place, given.events)
    return {
        **processor(),
        "load": load,
        "files": len(files),
        "seconds": given.seconds,
        "versions": versions("openvino", "sqlalchemy", "fastapi"),
        "cost": cost,
        "query": query,
        "aims": {
            "throughput at least 0.95": cost["throughput"] >= 1 - MOST_COST,
            "processor time at most 5 % more": cost["cpu_ms"]["more"] <= MOST_COST,
            "window query under 1 s": query["seconds"] < WINDOW_SECONDS,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--export", type=Path, required=True, help="folder of an exported model")
    parser.add_argument("--originals", type=Path, required=True, help="full-size images, at any depth")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--events", type=int, default=1_000_000, help="stored for the window's query")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results" / "recording.json")
    given = parser.parse_args()
    found = measure(given)
    given.results.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({name: found[name] for name in ("load", "cost", "query", "aims")}, indent=1))


if __name__ == "__main__":
    main()
