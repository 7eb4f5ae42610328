"""Count what each way of running the service costs a month, and write the tables into docs/cloud.md.

    .venv/bin/python docs/cloud_costs.py [--check]

Prices are those of cloud_prices.toml; what a study takes was measured (benchmarks/results). `--check` writes nothing
and ends with 1 where the document's tables are others.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

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
RESERVED, UPGRADING = 0.3, 1
"""Cores of a node that its own programs take; replicas that an upgrade starts before it ends one."""
CHART = ROOT / "deployments/kubernetes/pneumonia/values.yaml"
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


def requests(values: dict[str, Any], load: float) -> list[float]:
    """Return the cores that each pod of the chart requests while it is upgraded, the largest first.

    Args:
        values: the chart's.
        load: cores that the studies take.
    """

    def wanted(part: str) -> float:
        text = str(values[part]["resources"]["requests"]["cpu"])
        return float(text.removesuffix("m")) / 1000 if text.endswith("m") else float(text)

    one = wanted("serving")
    replicas = max(values["serving"]["autoscaling"]["minReplicas"], math.ceil(load / one))
    pods = [one] * (replicas + UPGRADING) + [wanted("mlflow")] * values["mlflow"]["replicas"]
    return sorted([*pods, wanted("postgres"), wanted("migrations")], reverse=True)


def nodes(pods: list[float], cores_each: float) -> int:
    """Return the nodes that hold these pods, each put where it first fits.

    Raises:
        SystemExit: a pod fits no node.
    """
    room = cores_each - RESERVED
    free: list[float] = []
    for pod in pods:
        if pod > room:
            raise SystemExit(f"node_cores: a pod of {pod:g} cores fits no node with {room:g} free; price larger nodes")
        for place, left in enumerate(free):
            if pod <= left:
                free[place] -= pod
                break
        else:
            free.append(room - pod)
    return len(free)


def ways(found: Measured, price: dict[str, float], prices: dict[str, Any], studies: int) -> dict[str, dict[str, float]]:
    """Return the lines of a month's bill, in dollars, for each way."""
    shape, hours = read_shape(), prices["hours"]
    images = studies * IMAGES
    events_gb = images * DAYS * found.event_bytes / GB
    kept = {"trainings": TRAININGS * found.training_core_hours * price["spot"], "buckets": 20 * price["bucket_gb"]}
    bare = hours * price["machine"] + price["disk_gb"] * shape.machine["disk_gb"]
    events = price["disk_gb"] * events_gb
    machine = {"machine": bare + events, "address": hours * price["address"]}
    outside = price["database"] > 0  # the events are in the database, and not on the machine
    traffic_gb = images * MONTH * found.image_bytes / GB
    through = {
        "balancer": hours * price["balancer"] + traffic_gb * price["balanced_gb"],
        "gateway": hours * price["gateway"],
    }
    front = hours * price["front"] + traffic_gb * price["front_gb"]
    chart = yaml.safe_load(CHART.read_text(encoding="utf-8"))
    count = nodes(requests(chart, cores(found, studies)), prices["node_cores"])
    replicas = max(shape.serving.least, math.ceil(cores(found, studies) / shape.serving.cpu))
    size = shape.serving.cpu * price["replica_cpu"] + shape.serving.memory_mb / 1024 * price["replica_gb"]
    managed = {
        "replicas": hours * replicas * size,
        "database": hours * price["database"] + price["database_gb"] * (shape.database["disk_gb"] + events_gb),
        "secrets": len(shape.secrets) * price["secret"],
    }
    cluster = {
        "control plane": hours * price["cluster"],
        "nodes": count * (hours * price["node"] + 50 * price["disk_gb"]) + events,
    }
    return {
        "laptop": {},
        "one machine": machine | {"buckets": kept["buckets"]},
        "Kubernetes": cluster | through | kept,
        "managed services": {"machine": bare if outside else bare + events}
        | managed
        | through
        | {"balancer": front}
        | kept,
    }


def tables() -> str:
    """Return the tables as Markdown."""
    prices, found = tomllib.loads(PRICES.read_text(encoding="utf-8")), measured()
    bills = {
        (cloud, studies): ways(found, prices[cloud], prices, studies) for cloud in ("aws", "gcp") for studies in LOADS
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
        f"processor with AVX2 alone), a busiest hour of {PEAK} average ones, and cores that are at most {BUSY:.0%} "
        f"busy: {', '.join(demand)}. Events take {found.event_bytes / 1000:.1f} kB an image, {gigabytes:,.0f} GB at "
        f"{LOADS[1]:,} a day for the {DAYS} days that they are kept. Kept images, which are off unless asked for, "
        f"would be {images_gb:,.0f} GB more. {TRAININGS} trainings a month take "
        f"{TRAININGS * found.training_core_hours:.1f} core-hours. A Kubernetes cluster has nodes of "
        f"{prices['node_cores']} cores, "
        "as many as hold what the chart's pods request while it is upgraded. "
        f"List prices of {prices['date']}, from memory and to "
        "be checked; logs, support, tax and traffic out are not counted."
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 where the tables are others")
    check = parser.parse_args().check
    document = DOCUMENT.read_text(encoding="utf-8")
    try:
        now = written(document)
    except KeyError as error:
        print(f"{PRICES.relative_to(ROOT)}: has no {error.args[0]}; add it for each cloud", file=sys.stderr)
        return 1
    if check:
        if document != now:
            remedy = "write them anew: python docs/cloud_costs.py"
            print(f"{DOCUMENT.relative_to(ROOT)}: its tables are not those of the prices; {remedy}", file=sys.stderr)
        return int(document != now)
    write_text(DOCUMENT, now)
    return 0


if __name__ == "__main__":
    sys.exit(main())
