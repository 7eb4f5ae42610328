"""Measure one training by several workers: equal weights, kills, speed, and what ghost batch norm costs.

python benchmarks/sharding.py [--rounds N] [--data FOLDER --weights FILE] [--parts parity,kills,speed,accuracy]

Speed: two workers of one thread, one process of two threads with the same shards, and one with shards off take turns,
with a neighbour that computes beside them and without, at a small step and at that of profile `full`; the steps of each
turn but its first two count. Accuracy: the same seeds with and without shards, on a tenth of the training patients,
validated on as many others. A part that is not named stays as it was.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
RESULTS = ROOT / "benchmarks" / "results" / "sharding.json"
os.environ.setdefault("OMP_NUM_THREADS", "2")

import numpy as np
from numpy.typing import NDArray
from processor import processor, versions
from scipy.stats import ttest_1samp
from sharding_member import KEY, images, settings
from sklearn.metrics import roc_auc_score
from torch import Tensor

from pneumonia.config.schema import Config
from pneumonia.modelling.device import Compute
from pneumonia.modelling.network import assemble_network
from pneumonia.modelling.scoring import predict_probabilities
from pneumonia.modelling.training_loop import fit
from pneumonia.modelling.training_set import TrainingSet

RESNET = ("model.architecture=resnet18", "preprocess.size=64", "train.batch_size=16", "train.shards=4")
STEPS, WARMING = 6, 2
SIZES = {"128 px, batches of 32": (128, 32), "224 px, batches of 64": (224, 64)}
WAYS = {
    "two workers of one thread": ("train.shards=2", "train.workers=2", "train.threads=1"),
    "one process of two threads": ("train.shards=2", "train.workers=1", "train.threads=2"),
    "one process of two threads, shards off": ("train.shards=0", "train.threads=2"),
}
SHARDS = (0, 2, 4)


def torchrun(folder: Path, processes: int, restarts: int, *arguments: str) -> int:
    """Train as torchrun's processes, and return its exit code."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command += ["--max-restarts", str(restarts), str(ROOT / "benchmarks/sharding_member.py"), str(folder), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.run(command, env=environment, capture_output=True, timeout=1800).returncode


def digest(folder: Path, *arguments: str) -> str:
    """Train from this process, and return the weights' digest."""
    config = settings(*RESNET, *arguments)
    return fit(images(config.preprocess.size), config, folder, KEY).weights_digest


def parity(place: Path) -> list[dict[str, Any]]:
    """Train with several numbers of workers and under both launchers, and with a number that changes."""
    rows = [
        {"launcher": "plain", "workers": str(count), "digest": digest(place / str(count), f"train.workers={count}")}
        for count in (1, 2, 4)
    ]
    for count in (2, 4):
        folder = place / f"torchrun {count}"
        folder.mkdir()
        assert torchrun(folder, count, 0, *RESNET) == 0
        rows.append({"launcher": "torchrun", "workers": str(count), "digest": result(folder)["digest"]})
    folder = place / "changed"
    folder.mkdir()
    assert torchrun(folder, 2, 0, *RESNET, "--kill", "0", "14") != 0, "it was to be killed"
    assert (folder / "killed").exists()
    last = digest(folder, "train.workers=4")
    rows.append({"launcher": "torchrun, killed; then plain", "workers": "2, then 4", "digest": last})
    return rows


def result(folder: Path) -> dict[str, Any]:
    """Return what process 0 has written."""
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def kills(place: Path, expected: str) -> list[dict[str, Any]]:
    """Kill each of torchrun's two processes in the middle of an epoch; it starts them again by itself."""
    rows = []
    for rank in (0, 1):
        folder = place / f"kill {rank}"
        folder.mkdir()
        code = torchrun(folder, 2, 1, *RESNET, "--kill", str(rank), "14")
        killed = (folder / "killed").stat().st_mtime
        lines = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
        after = [line for line in lines if line["restart"] == 1]
        rows.append(
            {
                "launcher": "torchrun --max-restarts 1", "rank": rank, "exit_code": code,
                "killed_after_step": max(line["step"] for line in lines if line["restart"] == 0),
                "resumed_with_step": after[0]["step"], "seconds_to_the_next_step": round(after[0]["time"] - killed, 1),
                "same_digest": result(folder)["digest"] == expected,
            }
        )  # fmt: skip
    return rows


@contextmanager
def neighbour(busy: bool) -> Iterator[None]:
    """Let another process compute on one core inside the context."""
    if not busy:
        yield
        return
    code = "import numpy as np\na = np.ones((512, 512))\nwhile True: a @ a"
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    try:
        yield
    finally:
        process.kill()
        process.wait()


def rate(data: TrainingSet, size: int, batch: int, way: tuple[str, ...]) -> float:
    """Return images per second of a way to train, from its median step."""
    config = settings(
        f"preprocess.size={size}", f"train.batch_size={batch}", "model.architecture=resnet18", "train.precision=auto",
        "train.epochs=1", "train.bn_recalibration_images=0", *way,
    )  # fmt: skip
    times: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        fit(data, config, Path(folder), KEY, on_step=lambda *_: times.append(time.perf_counter()))
    seconds = [after - before for before, after in pairwise(times)]
    return batch / median(seconds[WARMING - 1 :])


def speed(rounds: int) -> dict[str, Any]:
    """Let the ways to train take turns, on the machine as it is and beside a neighbour."""
    return {
        name: {
            when: turns(images(size, STEPS * batch, 8), size, batch, rounds, busy)
            for when, busy in {"as it is": False, "beside a neighbour": True}.items()
        }
        for name, (size, batch) in SIZES.items()
    } | {"rounds": rounds}


def turns(data: TrainingSet, size: int, batch: int, rounds: int, busy: bool) -> dict[str, Any]:
    """Return images per second of each way to train, and the ratio of the first to the others."""
    load = round(os.getloadavg()[0], 2)
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    with neighbour(busy):
        for number in range(rounds):
            for way in list(WAYS)[:: 1 if number % 2 else -1]:
                rates[way].append(rate(data, size, batch, WAYS[way]))
    two, *others = WAYS
    return {
        "load_before": load,
        "images_per_second": {way: round(median(each), 1) for way, each in rates.items()},
        f"{two} against": {
            way: round(median(a / b for a, b in zip(rates[two], rates[way], strict=True)), 2) for way in others
        },
    }


def accuracy(data_folder: str, weights: str, seeds: int) -> dict[str, Any]:
    """Train on a tenth of the patients with and without shards, and validate on another tenth.

    The AUROC of images as they are is near its ceiling; that of images without shortcuts is not.
    """
    from pneumonia.data import packing
    from pneumonia.data.manifest import Manifest
    from pneumonia.evaluation.shortcut_ablation import remove_shortcuts
    from tasks.prepare_data import prepare_data

    work = os.environ.get("PNEUMONIA_WORK", str(ROOT / ".pneumonia"))
    common = (
        f"work={work}", f"data.root={data_folder}", "data.patient_fraction=0.2", "data.validation_fraction=0.5",
        "preprocess.size=96", "preprocess.equalize=true", "model.architecture=resnet18", f"model.weights={weights}",
        "train.batch_size=64", "train.epochs=3", "train.precision=auto", "train.ema_decay=0", "train.workers=1",
        "train.threads=2", "train.bn_recalibration_images=512", "registry.name=pneumonia-resnet18",
    )  # fmt: skip
    config = settings(*common)
    dataset = prepare_data(config)
    data = TrainingSet.of(packing.open_pixels(Path(dataset.pixels)), Manifest.load(Path(dataset.manifest)))
    held = data.validation
    views = {"as they are": held.pixels[held.rows]}
    views["without shortcuts"] = remove_shortcuts(views["as they are"], config.preprocess)
    found: dict[int, list[dict[str, float]]] = {shards: [] for shards in SHARDS}
    for seed in range(seeds):
        for shards in SHARDS:
            state = trained(data, settings(*common, f"train.seed={seed}", f"train.shards={shards}"))
            found[shards].append({view: auroc(state, pixels, held.labels) for view, pixels in views.items()})
    values = {shards: {view: [row[view] for row in rows] for view in views} for shards, rows in found.items()}
    return {
        "training_images": len(data.train), "validation_images": len(held), "seeds": seeds,
        "rows": [
            {"shards": shards, "micro_batch": 64 // max(shards, 1)}
            | {view: compared(of_view, values[0][view] if shards else None) for view, of_view in by_view.items()}
            for shards, by_view in values.items()
        ],
    }  # fmt: skip


def trained(data: TrainingSet, config: Config) -> dict[str, Tensor]:
    """Return the weights of a training."""
    with tempfile.TemporaryDirectory() as folder:
        return fit(data, config, Path(folder), KEY).state


def auroc(state: dict[str, Tensor], pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
    """Return the AUROC of a network on images uint8 [n, S, S]."""
    network = assemble_network(state, "resnet18", flip_tta=False)
    scores = predict_probabilities(network, pixels, np.arange(len(pixels)), Compute.of(settings().train))
    return round(float(roc_auc_score(labels, scores)), 4)


def compared(these: list[float], those: list[float] | None) -> dict[str, Any]:
    """Return the seeds' values with mean and standard deviation, and their difference from others of these seeds."""
    found = {"auroc": these, "mean": round(mean(these), 4), "sd": round(stdev(these), 4)}
    return found if those is None else found | {"difference": difference(these, those)}


def difference(these: list[float], those: list[float]) -> dict[str, float]:
    """Return the mean difference of pairs, one a seed, with its 95 % interval by Student's t."""
    pairs = [a - b for a, b in zip(these, those, strict=True)]
    interval = ttest_1samp(pairs, 0).confidence_interval()
    found = {"mean": mean(pairs), "low": float(interval.low), "high": float(interval.high)}
    return {name: round(value, 4) + 0.0 for name, value in found.items()}  # without a minus before zero


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="parity,kills,speed,accuracy")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data")
    parser.add_argument("--weights")
    given = parser.parse_args()
    parts = given.parts.split(",")
    made: dict[str, Any] = {**processor(), "versions": versions("torch", "numpy")}
    with tempfile.TemporaryDirectory() as name:
        if "parity" in parts:
            made["parity"] = parity(Path(name))
        if "kills" in parts:
            made["kills"] = kills(Path(name), digest(Path(name) / "expected", "train.workers=1"))
    if "speed" in parts:
        made["speed"] = speed(given.rounds)
    if "accuracy" in parts:
        made["accuracy"] = accuracy(given.data, given.weights, given.seeds)
    before: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    found = before | made
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
