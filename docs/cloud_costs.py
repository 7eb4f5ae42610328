"""Count what each way of running the service costs a month, and write the tables into docs/cloud.md.

    .venv/bin/python docs/cloud_costs.py [--check]

Prices are those of cloud_prices.toml; what a study takes was measured (benchmarks/results). `--check` writes nothing
and ends with 1 where the document's tables are others.
"""

from __future__ import annotations

import json
import math
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

from deployments.cloud.shape import read_shape
from pneumonia.config.service import MonitoringConfig
from pneumonia.files import write_text

DOCUMENT, PRICES = ROOT / "docs/cloud.md", ROOT / "docs/cloud_prices.toml"
RESULTS = ROOT / "benchmarks/results"
BEGIN, END = "<!-- written by docs/cloud_costs.py -->", "<!-- end -->"
LOADS = (100, 100_000)
"""Studies a day."""
IMAGES, PEAK, BUSY = 2, 5, 0.6
"""Images a study; the busiest hour's load in average hours'; share of a core that is planned with."""
TRAININGS, MONTH, DAYS = 4, 30, MonitoringConfig().retention_days
"""Trainings a month; days of a month; days that events are kept, and images where they are."""
NODES = 2
GB = 1e9


@dataclass(frozen=True)
class Measured:
    """What was measured: seconds of a core an image, on a processor with AVX2 alone; bytes; hours of a training."""

    image_seconds: float
    image_bytes: float
    event_bytes: float
    training_core_hours: float


def measured() -> Measured:
    """Read the benchmarks' results."""
    serving, recording, full = (read(name) for name in ("serving", "recording", "full"))
    return Measured(
        serving["older"]["servers"]["pneumonia"]["cpu_ms_an_answer"] / 1000,
        serving["mean_kilobytes"] * 1000,
        recording["query"]["megabytes"] * 1e6 / recording["query"]["events"],
        full["total_seconds"] * full["threads"] / 3600,
    )


def read(name: str) -> dict[str, Any]:
    """Return a benchmark's committed result."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def cores(found: Measured, studies: int) -> float:
    """Return the cores that the busiest hour takes, with the room that is planned."""
    return studies * IMAGES * found.image_seconds / 86_400 * PEAK / BUSY


def ways(found: Measured, price: dict[str, float], hours: float, studies: int) -> dict[str, dict[str, float]]:
    """Return the lines of a month's bill, in dollars, for each way."""
    shape = read_shape()
    images = studies * IMAGES
    events_gb = images * DAYS * found.event_bytes / GB
    kept = {"trainings": TRAININGS * found.training_core_hours * price["spot"], "buckets": 20 * price["bucket_gb"]}
    machine = {
        "machine": hours * price["machine"] + price["disk_gb"] * (shape.machine["disk_gb"] + events_gb),
        "address": hours * price["address"],
    }
    traffic_gb = images * MONTH * found.image_bytes / GB
    through = {
        "balancer": hours * price["balancer"] + traffic_gb * price["balanced_gb"],
        "gateway": hours * price["gateway"],
    }
    front = hours * price["front"] + traffic_gb * price["front_gb"]
    nodes = max(NODES, math.ceil(cores(found, studies) / 2) + 1)
    replicas = max(shape.serving.least, math.ceil(cores(found, studies) / shape.serving.cpu))
    size = shape.serving.cpu * price["replica_cpu"] + shape.serving.memory_mb / 1024 * price["replica_gb"]
    managed = {
        "replicas": hours * replicas * size,
        "database": hours * price["database"] + price["database_gb"] * (shape.database["disk_gb"] + events_gb),
        "secrets": len(shape.secrets) * price["secret"],
    }
    cluster = {
        "control plane": hours * price["cluster"],
        "nodes": nodes * (hours * price["node"] + 50 * price["disk_gb"]) + events_gb * price["disk_gb"],
    }
    return {
        "laptop": {},
        "one machine": machine | {"buckets": kept["buckets"]},
        "Kubernetes": cluster | through | kept,
        "managed services": {"machine": machine["machine"]} | managed | through | {"balancer": front} | kept,
    }


def tables() -> str:
    """Return the tables as Markdown."""
    prices, found = tomllib.loads(PRICES.read_text(encoding="utf-8")), measured()
    bills = {
        (cloud, studies): ways(found, prices[cloud], prices["hours"], studies)
        for cloud in ("aws", "gcp")
        for studies in LOADS
    }
    names = {"aws": "AWS", "gcp": "Google Cloud"}
    columns = [f"{names[cloud]}, {studies:,} a day" for cloud, studies in bills]
    head = f"| dollars a month | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}"
    way_names = list(next(iter(bills.values())))
    totals = [
        f"| {way} | {' | '.join(dollars(sum(bill[way].values())) for bill in bills.values())} |" for way in way_names
    ]
    lines = [
        f"| {way}: {line} | {' | '.join(dollars(bill[way][line]) for bill in bills.values())} |"
        for way in way_names
        for line in bills["aws", LOADS[0]][way]
    ]
    demand = [f"{cores(found, studies):.2g} cores at {studies:,} a day" for studies in LOADS]
    gigabytes = LOADS[1] * IMAGES * DAYS * found.event_bytes / GB
    images_gb = LOADS[1] * IMAGES * DAYS * found.image_bytes / GB
    text = (
        f"Counted with {IMAGES} images a study, {found.image_seconds * 1000:.1f} ms of a core an image (measured on a "
        f"processor with AVX2 alone), a busiest hour of {PEAK} average ones, and cores that are at most {BUSY:.0%} busy: "
        f"{', '.join(demand)}. Events take {found.event_bytes / 1000:.1f} kB an image, {gigabytes:,.0f} GB at "
        f"{LOADS[1]:,} a day for the {DAYS} days that they are kept. Kept images, which are off unless asked for, would "
        f"be {images_gb:,.0f} GB more. {TRAININGS} trainings a month take {TRAININGS * found.training_core_hours:.1f} "
        f"core-hours. List prices of {prices['date']}, from memory and to be checked; logs, support, tax and traffic out "
        "are not counted."
    )
    return "\n".join([head, *totals, "", text, "", head, *lines])


def dollars(amount: float) -> str:
    """Return an amount as it stands in the tables: whole dollars, cents below ten."""
    return "0" if amount == 0 else f"{amount:,.0f}" if amount >= 10 else f"{amount:.2f}"


def written(document: str) -> str:
    """Return the document with the tables of now."""
    before, _, rest = document.partition(BEGIN)
    return f"{before}{BEGIN}\n{tables()}\n{END}{rest.partition(END)[2]}"


def main() -> int:
    """Write the tables, or check them."""
    document = DOCUMENT.read_text(encoding="utf-8")
    if "--check" in sys.argv[1:]:
        return int(document != written(document))
    write_text(DOCUMENT, written(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
