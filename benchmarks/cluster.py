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
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
os.environ.update(RAY_USAGE_STATS_ENABLED="0", OMP_NUM_THREADS="1", RAY_raylet_start_wait_time_s="300")
os.environ["PYTHONPATH"] = f"{ROOT}:{ROOT / 'benchmarks'}:{os.environ.get('PYTHONPATH', '')}"

import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from processor import processor, versions

from pneumonia.cluster import Cluster
from pneumonia.config.recipe import of_fold
from pneumonia.config.resolve import resolve
from pneumonia.config.schema import Config, PreprocessConfig
from pneumonia.data.phantom.dataset import render
from pneumonia.data.places import open_place
from pneumonia.inference import archive, archive_worker
from pneumonia.inference.archive import Scoring, score_archive
from pneumonia.inference.predictor import Predictor
from tasks.measure_folds import measure_folds
from tasks.prepare_data import prepare_data
from tasks.train_model import train_model

DRAWN, SIDE, PART, PART_ROWS = 16, 1024, 16, archive.PART
"""Drawn phantoms and their side; images a part here, so that few images make many parts; rows of a part as it ships."""
LEAST_EFFICIENCY = 0.85
"""Aim: throughput of two workers, as a share of twice that of one."""
MEMORY_MIB = 64
"""Aim: how much more memory an archive of four times the size may take."""
SMALL = (
    "data.root=phantom", "model.architecture=tiny", "phantom.train=64", "phantom.test=32", "phantom.size=64",
    "preprocess.size=32", "train.epochs=3", "train.batch_size=16", "train.threads=1", "evaluation.bootstrap=100",
    "tracking.system_metrics=false",
)  # fmt: skip


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


def draw(folder: Path, count: int) -> Path:
    """Write `count` JPEG files of some drawn phantoms."""
    folder.mkdir(parents=True)
    drawn = []
    for at in range(DRAWN):
        file = folder / f"image {at:05d}.jpeg"
        Image.fromarray(render(at % 2, np.random.default_rng(at), SIDE)).save(file, quality=90)
        drawn.append(file.read_bytes())
    for at in range(DRAWN, count):
        (folder / f"image {at:05d}.jpeg").write_bytes(drawn[at % DRAWN])
    return folder


def model(work: Path) -> Predictor:
    """Return a ResNet18 with random weights, exported."""
    from pneumonia.modelling.network import build_network
    from pneumonia.modelling.weights import save_weights, state_digest
    from pneumonia.records.model import ModelRecord

    state = build_network("resnet18", "none", 0).state_dict()
    config = resolve(assignments=["data.root=phantom", f"work={work}", "serving.threads=1"], environment={})
    record = ModelRecord(
        name="pneumonia-resnet18-phantom", phantom=True, architecture="resnet18", flip_tta=False, threshold=0.5,
        preprocess=PreprocessConfig(size=224), weights_digest=state_digest(state), data_digest="0" * 64,
        split_digest="0" * 64, config=config.model_dump(mode="json"), library_version="benchmark",
    )  # fmt: skip
    work.mkdir(parents=True, exist_ok=True)
    save_weights(work / "model.safetensors", state, record)
    return Predictor.load(str(work / "model.safetensors"), config)


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


def killed_archive(nodes: Nodes, predictor: Predictor, source: Path, place: Path) -> dict[str, Any]:
    """Score without a cluster, and on one whose node is killed after the first part; compare the rows."""
    folder = open_place(str(source))
    contents = folder.survey()
    here, there = place / "here.parquet", place / "there.parquet"
    score_archive(predictor, folder, contents, str(here))
    killed_at: list[float] = []

    def kill(done: float, _: float, message: str = "") -> None:  # noqa: ARG001
        if done and not killed_at:
            nodes.kill()
            killed_at.append(done)

    with Cluster(nodes.address) as cluster:
        began = time.perf_counter()
        score_archive(predictor, folder, contents, str(there), kill, archive_worker.on_cluster(cluster))
        seconds = time.perf_counter() - began
    rows = pq.read_table(there)
    return {
        "what": "archive",
        "units": len(contents.images),
        "killed_after": killed_at[0],
        "nodes_left": len(nodes.alive),
        "rows": rows.num_rows,
        "rows_once": len(set(rows["file"].to_pylist())) == rows.num_rows == len(contents.images),
        "equal": rows.equals(pq.read_table(here)),
        "seconds": round(seconds, 1),
    }


def killed_folds(nodes: Nodes, place: Path, folds: int = 4) -> dict[str, Any]:
    """Measure folds on a cluster whose node is killed after the first, and without a cluster; compare the digests."""

    def planned(work: Path) -> list[Config]:
        small = resolve("fast", assignments=[*SMALL, f"work={work}"], environment={})
        return [of_fold(small, 0, folds, number) for number in range(folds)]

    configs = planned(place / "cluster")
    datasets = [prepare_data(config) for config in configs]
    killed_at: list[float] = []

    def kill(done: float, _: float, message: str = "") -> None:  # noqa: ARG001
        if not killed_at:
            nodes.kill()
            killed_at.append(done)

    began = time.perf_counter()
    measured = measure_folds(datasets, configs, nodes.address, kill)
    seconds = time.perf_counter() - began
    here = [train_model(prepare_data(config), config).weights_digest for config in planned(place / "here")]
    return {
        "what": "cross-validation",
        "units": folds,
        "killed_after": killed_at[0],
        "nodes_left": len(nodes.alive),
        "rows": len(measured),
        "rows_once": len({fold.result.fold for fold in measured}) == folds,
        "equal": [fold.trained.weights_digest for fold in measured] == here,
        "seconds": round(seconds, 1),
    }


def memory(work: Path, source: Path, place: Path) -> dict[str, Any]:
    """Score once and four times the images, each in a process of its own; return the largest memory of each, MiB."""
    found: dict[str, Any] = {}
    large = place / "four times"
    large.mkdir()
    for copy in range(4):
        shutil.copytree(source, large / str(copy))
    for name, folder in (("once", source), ("four_times", large)):
        command = [sys.executable, __file__, "--memory", str(work), str(folder), str(place / f"{name}.parquet")]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[name] = json.loads(done.stdout.strip().splitlines()[-1])
    found["more_mib"] = found["four_times"]["mib"] - found["once"]["mib"]
    return found


def measure_memory(work: str, source: str, out: str) -> None:
    """Score in this process, and print its largest memory while it scores."""
    archive.PART = PART
    config = resolve(assignments=["data.root=phantom", f"work={work}", "serving.threads=1"], environment={})
    place = open_place(source)
    predictor = Predictor.load(f"{work}/model.safetensors", config)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading the model
    counts = score_archive(predictor, place, place.survey(), out)
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"images": sum(counts.values()), "mib": peak // 2**10}))


def units(predictor: Predictor, source: Path, place: Path) -> dict[str, Any]:
    """Measure what one process does for the whole archive: listing and joining."""
    listed = place / "listed"
    count = 20_000
    for at in range(count):
        file = listed / f"{at // 1000:03d}" / f"{at:06d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    spent = time.process_time()
    open_place(str(listed)).survey()
    listing = time.process_time() - spent
    tracemalloc.start()
    contents = open_place(str(listed)).survey()
    _, grown = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    parts = open_place(str(place / "joined"))
    Path(parts.url).mkdir()
    rows = [row | {"file": name} for row, name in _rows(predictor, source, contents.images[:PART_ROWS])]
    for number in range(40):
        parts.publish(f"part-{number:06d}", lambda path: pq.write_table(archive._table(rows), path))
    spent = time.process_time()
    archive._join(parts, sorted(parts.names()), open_place(str(place)), "joined.parquet")
    joining = time.process_time() - spent
    return {
        "listing_ms_a_thousand_files": round(1e6 * listing / count, 2),
        "listing_bytes_a_file": round(grown / count),
        "joining_ms_a_thousand_rows": round(1e6 * joining / (40 * len(rows)), 2),
        "result_bytes_a_row": round((place / "joined.parquet").stat().st_size / (40 * len(rows)), 1),
    }


def _rows(predictor: Predictor, source: Path, names: Any) -> Iterator[tuple[dict[str, Any], str]]:
    place = open_place(str(source))
    (result,) = predictor.stream_from(place.survey().images[:1], place.read)
    for name in names:
        yield archive._row(result), name


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
