"""Measure work on a Ray cluster of this machine: growth from one worker to two, killed nodes, memory, unit costs.

python benchmarks/cluster.py [--images N] [--rounds N] [--results FILE]

Growth: the same archive is scored by one worker and by two in turns; each has a core of its own. What other programs
do on the machine hits both, but not alike: where others want all cores, the cluster's processes share what is left for
them, be they one or two. Therefore the efficiency is also computed from what a second worker can cost by itself:
processor time of an image, and the share of the time in which a worker has a part. Killed nodes: an archive, and the
folds of a cross-validation, of which a node is killed in the middle, against the same without a cluster. The images are
drawn phantoms of 1024 px, each under several names, the model is a ResNet18 with random weights: speeds and agreement
are measured, nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
os.environ.update(RAY_USAGE_STATS_ENABLED="0", OMP_NUM_THREADS="1", RAY_raylet_start_wait_time_s="300")
os.environ["PYTHONPATH"] = f"{ROOT}:{ROOT / 'benchmarks'}:{os.environ.get('PYTHONPATH', '')}"

from cluster_archive import PART, draw, measure_memory, memory, model, units
from cluster_killed import killed_archive, killed_folds
from processor import processor, versions

from pneumonia.cluster import Cluster
from pneumonia.data.places import open_place
from pneumonia.inference import archive, archive_worker
from pneumonia.inference.archive import Scoring
from pneumonia.inference.predictor import Predictor

LEAST_EFFICIENCY = 0.85
"""Aim: throughput of two workers, as a share of twice that of one."""
MEMORY_MIB = 64
"""Aim: how much more memory an archive of four times the size may take."""


class Nodes:
    """A cluster of this machine: a head without processors, and nodes of one processor each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster as Processes

        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 200_000_000}
        self._cluster = Processes(initialize_head=True, head_node_args=head)
        self.address = str(self._cluster.address)
        self.alive: list[Any] = []

    def add(self) -> None:
        node = self._cluster.add_node(num_cpus=1, include_dashboard=False, object_store_memory=200_000_000)
        self.alive.append(node)

    def kill(self) -> None:
        node = self.alive.pop()
        os.kill(node.all_processes["raylet"][0].process.pid, signal.SIGKILL)
        self._cluster.remove_node(node, allow_graceful=False)

    def stop(self) -> None:
        self._cluster.shutdown()


def timed_score(document: dict[str, Any], files: dict[str, bytes]) -> dict[str, float]:
    """Score a part, and say what it took."""
    began, spent = time.perf_counter(), time.process_time()
    images = archive_worker.score_elsewhere(document, files)
    return {"images": images, "seconds": time.perf_counter() - began, "cpu": time.process_time() - spent}


def wait_for(path: str) -> None:
    """Keep a worker occupied until a file appears."""
    while not Path(path).exists():
        time.sleep(0.02)


@contextmanager
def one_worker(cluster: Cluster, folder: Path) -> Iterator[None]:
    """Keep one of the two workers occupied, asleep."""
    free = folder / f"free.{os.urandom(4).hex()}"
    held = cluster._ray.remote(wait_for).options(num_cpus=1).remote(str(free))
    time.sleep(1.0)
    try:
        yield
    finally:
        free.touch()
        cluster._ray.get(held)


def run_once(cluster: Cluster, predictor: Predictor, source: Path, place: Path, workers: int) -> dict[str, float]:
    """Score the archive on the workers that are free; the time is that of the parts, without listing and joining."""
    scoring = Scoring(predictor, open_place(str(source)), open_place(str(place / f"parts.{os.urandom(4).hex()}")))
    Path(scoring.parts.url).mkdir(parents=True)
    images = scoring.source.survey().images
    parts = archive._plan(images, "0" * 64)
    files = {file.name: file.read_bytes() for file in predictor.model.folder.iterdir() if file.is_file()}
    documents = list(archive_worker._documents(scoring, parts[0], iter(parts[1:])))
    began, spent = time.perf_counter(), time.process_time()
    done = [each.result for each in cluster.map(timed_score, documents, shared=files)]
    seconds, driver = time.perf_counter() - began, time.process_time() - spent
    scored = sum(each["images"] for each in done)
    return {
        "per_second": round(scored / seconds, 2),
        "busy_share": round(sum(each["seconds"] for each in done) / (workers * seconds), 3),
        "cpu_ms_an_image": round(1000 * sum(each["cpu"] for each in done) / scored, 2),
        "driver_ms_a_part": round(1000 * driver / len(done), 2),
    }


def growth(nodes: Nodes, predictor: Predictor, source: Path, place: Path, rounds: int) -> dict[str, Any]:
    """Measure one worker and two in turns; a first pair warms up."""
    found: dict[str, list[dict[str, float]]] = {"one": [], "two": []}
    loads = []
    with Cluster(nodes.address) as cluster:
        for number in range(rounds + 1):
            for name in ("one", "two")[:: 1 if number % 2 else -1]:
                if name == "one":
                    with one_worker(cluster, place):
                        run = run_once(cluster, predictor, source, place, 1)
                else:
                    run = run_once(cluster, predictor, source, place, 2)
                loads.append(round(os.getloadavg()[0], 1))
                if number:
                    found[name].append(run)
    pairs = list(zip(found["one"], found["two"], strict=True))
    efficiencies = [two["per_second"] / (2 * one["per_second"]) for one, two in pairs]
    cpu = [one["cpu_ms_an_image"] / two["cpu_ms_an_image"] for one, two in pairs]
    busy = [two["busy_share"] / one["busy_share"] for one, two in pairs]
    return {
        "runs": found,
        "loads": loads,
        "efficiency": round(median(efficiencies), 3),
        "efficiencies": [round(each, 3) for each in efficiencies],
        "cpu_of_one_by_two": round(median(cpu), 3),
        "busy_of_two_by_one": round(median(busy), 3),
        "efficiency_by_cost": round(median(a * b for a, b in zip(cpu, busy, strict=True)), 3),
    }


def say(name: str, found: dict[str, Any]) -> dict[str, Any]:
    """Print what is measured so far."""
    print(f"{name}: {json.dumps(found)}", file=sys.stderr, flush=True)
    return found


def measure(images: int, rounds: int, only: str) -> dict[str, Any]:
    """Measure the sections that are asked for: memory, units, or what needs a cluster; all of them where none is."""
    archive.PART = PART
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        source = draw(place / "archive", images)
        predictor = model(place / "work")
        if only in ("", "memory"):
            found["memory"] = say("memory", memory(place / "work", source, place))
        if only in ("", "units"):
            found["units"] = say("units", units(predictor, source, place))
        if only in ("", "cluster"):
            found |= on_nodes(predictor, source, place, rounds)
    return found


def on_nodes(predictor: Predictor, source: Path, place: Path, rounds: int) -> dict[str, Any]:
    """Measure growth, and work whose node is killed."""
    nodes = Nodes()
    try:
        nodes.add()
        nodes.add()
        grown = say("growth", growth(nodes, predictor, source, place, rounds))
        killed = [say("killed", killed_archive(nodes, predictor, source, place))]
        nodes.add()
        killed.append(say("killed", killed_folds(nodes, place)))
    finally:
        nodes.stop()
    return {"growth": grown, "killed": killed}


def complete(found: dict[str, Any]) -> dict[str, Any]:
    """Return the result with what follows from its sections."""
    runs = [run for name in ("one", "two") for run in found["growth"]["runs"][name]]
    for name in ("cpu_ms_an_image", "driver_ms_a_part"):
        found["units"][f"scoring_{name}"] = median(run[name] for run in runs)
    aims = {
        "efficiency of two workers at least 0.85, by cost": found["growth"]["efficiency_by_cost"] >= LEAST_EFFICIENCY,
        "efficiency of two workers at least 0.85": found["growth"]["efficiency"] >= LEAST_EFFICIENCY,
        "equal though a node was killed": all(each["equal"] and each["rows_once"] for each in found["killed"]),
        "four times the archive in at most 64 MiB more": found["memory"]["more_mib"] <= MEMORY_MIB,
    }
    return found | {"aims": aims}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results" / "cluster.json")
    parser.add_argument("--only", choices=("memory", "units", "cluster"), default="", help="measure this part anew")
    parser.add_argument("--memory", nargs=3, metavar=("WORK", "SOURCE", "OUT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory:
        measure_memory(*given.memory)
        return
    load = round(os.getloadavg()[0], 2)
    kept = json.loads(given.results.read_text(encoding="utf-8")) if given.only else {}
    head = {
        "what": "drawn phantoms of 1024 px, a ResNet18 of 224 px in fp32 with random weights, one thread a worker",
        **processor(),
        "load": kept.get("load", load),
        "versions": versions("ray", "openvino", "pyarrow"),
        "images_a_part": PART,
    }
    found = complete(kept | head | measure(given.images, given.rounds, given.only))
    given.results.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({name: found[name] for name in ("growth", "killed", "memory", "units", "aims")}, indent=1))


if __name__ == "__main__":
    main()
