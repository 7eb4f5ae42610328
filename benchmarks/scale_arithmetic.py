"""Compute from measured unit costs what becomes the bottleneck at which size; writes the tables of docs/scale.md.

python benchmarks/scale_arithmetic.py [--write]

The unit costs are those of benchmarks/results/cluster.json, cross_validation.json and large_set.json. What is assumed,
and not measured, is named on the page: the size of a file and the speed of the network.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "scale.md"
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- scale_arithmetic: {} -->", "<!-- end -->"
FILE_BYTES, NETWORK_BYTES = 500_000, 1.25e9
"""Assumed: an image's file of 500 kB, and 10 Gbit/s between the object store and all machines together."""
IMAGES_A_PART = 512
AIM = 0.85
"""Efficiency of two workers."""
IMAGES = (10_000, 1_000_000, 100_000_000)
CORES = (2, 16, 128, 1024)
TRAININGS = ((5, 1), (5, 5), (10, 10))
MACHINES = (1, 5, 25, 100)


@dataclass(frozen=True)
class Costs:
    """Measured unit costs, in seconds.

    Attributes:
        score: processor time of an image on a worker: reading, decoding, computing, writing.
        part: processor time of the driver for a part.
        listed, joined: processor time of the driver for a file and a row.
        listed_bytes: memory of the driver for a file.
        training: one fold of the complete set.
        packed, audited: wall time of one machine for an image.
        audit_bytes: memory of the audit for an image.
    """

    score: float
    part: float
    listed: float
    joined: float
    listed_bytes: float
    training: float
    packed: float
    audited: float
    audit_bytes: float


def costs(results: Path = RESULTS) -> Costs:
    """Read the unit costs."""

    def read(name: str) -> Any:
        return json.loads((results / f"{name}.json").read_text(encoding="utf-8"))

    units, folds = read("cluster")["units"], read("cross_validation")["results"]
    large = read("large_set")["100000"]["100000"]
    count = large["images"]
    return Costs(
        score=units["scoring_cpu_ms_an_image"] / 1e3,
        part=units["scoring_driver_ms_a_part"] / 1e3,
        listed=units["listing_ms_a_thousand_files"] / 1e6,
        joined=units["joining_ms_a_thousand_rows"] / 1e6,
        listed_bytes=units["listing_bytes_a_file"],
        training=60 * sum(fold["minutes"] for fold in folds) / len(folds),
        packed=large["pack_and_split_seconds"] / count,
        audited=large["audit_seconds"] / count,
        audit_bytes=2**20 * (large["audit_memory_mib"] - large["memory_start_mib"]) / count,
    )


def archive_seconds(cost: Costs, images: int, cores: int) -> dict[str, float]:
    """Return what each part of a scoring takes, in seconds: parts run beside each other, listing and joining do not."""
    return {
        "workers": images * cost.score / cores,
        "driver": images * (cost.listed + cost.joined + cost.part / IMAGES_A_PART),
        "network": images * FILE_BYTES / NETWORK_BYTES,
    }


def driver_bound(cost: Costs) -> int:
    """Return the number of cores from which the driver takes longer than the workers."""
    return math.ceil(cost.score / (cost.listed + cost.joined + cost.part / IMAGES_A_PART))


def network_bound(cost: Costs) -> int:
    """Return the number of cores from which the network takes longer than the workers."""
    return math.ceil(cost.score * NETWORK_BYTES / FILE_BYTES)


def words(seconds: float) -> str:
    """Return a time with two digits."""
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{float(f'{seconds / length:.2g}'):g} {unit}"
    return f"{float(f'{seconds:.2g}'):g} s"


def archive_table(cost: Costs) -> str:
    lines = [
        "| images | cores | workers | driver | network | bottleneck |",
        "|---:|---:|---:|---:|---:|---|",
    ]
    for images in IMAGES:
        for cores in CORES:
            each = archive_seconds(cost, images, cores)
            longest = max(each, key=each.__getitem__)
            times = " | ".join(words(each[name]) for name in ("workers", "driver", "network"))
            lines.append(f"| {images:,} | {cores:,} | {times} | {longest} |")
    return "\n".join(lines)


def folds_table(cost: Costs) -> str:
    lines = [
        "| folds × seeds | machines | time of the trainings | idle machines in the last round |",
        "|---|---:|---:|---:|",
    ]
    for folds, seeds in TRAININGS:
        for machines in MACHINES:
            rounds = math.ceil(folds * seeds / machines)
            idle = rounds * machines - folds * seeds
            lines.append(f"| {folds} × {seeds} | {machines} | {words(rounds * cost.training)} | {idle} |")
    return "\n".join(lines)


def data_table(cost: Costs) -> str:
    lines = ["| images | packing and dividing | audit | memory of the audit |", "|---:|---:|---:|---:|"]
    for images in (100_000, 1_000_000, 10_000_000):
        memory = images * cost.audit_bytes / 2**30
        lines.append(
            f"| {images:,} | {words(images * cost.packed)} | {words(images * cost.audited)} | {memory:.2g} GiB |"
        )
    return "\n".join(lines)


def limits(cost: Costs) -> str:
    gigabytes = 1e6 * cost.listed_bytes / 1e9
    return "\n".join(
        (
            f"* A core scores {1 / cost.score:.0f} images a second, {1000 * cost.score:.0f} ms of processor time each.",
            f"* From {network_bound(cost):,} cores on, a network of 10 Gbit/s is the bottleneck, with files of 500 kB.",
            f"* From {driver_bound(cost):,} cores on, the driver is: it lists the files and joins the parts, alone.",
            f"* The names of a million files take {gigabytes:.2g} GB of the driver's memory; nothing else grows.",
        )
    )


def measured(found: dict[str, Any]) -> str:
    """Return what benchmarks/cluster.py has measured, as a table."""
    growth, memory = found["growth"], found["memory"]
    one, two = (median(run["per_second"] for run in growth["runs"][name]) for name in ("one", "two"))
    loads = growth["loads"]
    aim = "" if growth["efficiency"] >= AIM else f", below the aim of {AIM}"
    lines = [
        "| what | result |",
        "|---|---|",
        f"| one worker, two workers (median of {len(growth['efficiencies'])} alternating pairs) | {one:g} and {two:g} "
        f"images a second; efficiency {growth['efficiency']:.2f}{aim} |",
        f"| the pairs | {', '.join(f'{each:.2f}' for each in growth['efficiencies'])} |",
        f"| efficiency by cost: processor time of an image, and share of the time with a part | "
        f"{growth['efficiency_by_cost']:.2f} |",
        f"| other work on the machine meanwhile, load on {found['cores']} cores | {min(loads):g} to {max(loads):g} |",
    ]
    for each in found["killed"]:
        same = "the same, each once" if each["equal"] and each["rows_once"] else "NOT THE SAME"
        unit = "images" if each["what"] == "archive" else "folds"
        lines.append(
            f"| {each['what']} of {each['units']} {unit}, one of two nodes killed after {each['killed_after']:g} | "
            f"{each['rows']} results, {same} |"
        )
    lines.append(
        f"| memory of the process, {memory['once']['images']} and {memory['four_times']['images']} images | "
        f"{memory['once']['mib']} and {memory['four_times']['mib']} MiB |"
    )
    return "\n".join(lines)


def tables(cost: Costs) -> dict[str, str]:
    """Return the page's generated parts by name."""
    found = json.loads((RESULTS / "cluster.json").read_text(encoding="utf-8"))
    return {
        "measured": measured(found),
        "limits": limits(cost),
        "archive": archive_table(cost),
        "folds": folds_table(cost),
        "data": data_table(cost),
    }


def filled(page: str, parts: dict[str, str]) -> str:
    """Return the page with its generated parts replaced."""
    for name, text in parts.items():
        begin = BEGIN.format(name)
        before, found, rest = page.partition(begin)
        if not found:
            raise SystemExit(f"{PAGE}: has no line {begin}")
        page = f"{before}{begin}\n{text}\n{END}{rest.partition(END)[2]}"
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the tables into docs/scale.md")
    given = parser.parse_args()
    parts = tables(costs())
    if given.write:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), parts), encoding="utf-8")
    for name, text in parts.items():
        print(f"{name}\n{text}\n")


if __name__ == "__main__":
    main()
