"""Measure how long a training takes to reach the quality of a plain recipe: ours against the plain one, in one run.

python benchmarks/time_to_quality.py --weights FILE [--data DIR] [--radiographs N] [--epochs N] [--seeds N]
    [--imitate-avx2]

Quality is the AUROC on validation images from which every shortcut was removed (`evaluation.shortcut_ablation`): on
images as they are, encoding and grey levels alone reach 0.99 and more in the first epoch. The target is the best value
of the plain recipe in all of its epochs. Time is that of training with decoding, without imports and without these
measurements, as seconds by the clock and as processor seconds. One thread computes, so that the processor's seconds are
those of a machine with nothing else to do, whatever else runs; they are what is compared. A seed draws the radiographs
and all that both recipes leave to chance; they go first by turns. What counts is the geometric mean of the seeds'
ratios, with its 95 % interval by Student's t.

The plain recipe is that of `benchmarks/training.py`: files decoded in every epoch into three channels of 224 px,
float32, Adam. Ours is the library's own path: decoded once, then profile `full` with `OURS`, with its recalibration,
validation and checkpoints. Both start from the same weights and train on the same radiographs. The test folder is not
looked at. It is a measurement of speed: the AUROC of so few radiographs says nothing of the released model. Not a
medical device.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from processor import AVX2_IMITATED, processor, versions

if "--imitate-avx2" in sys.argv:
    os.environ.update(AVX2_IMITATED)  # before torch is loaded

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import ttest_1samp
from sklearn.metrics import roc_auc_score
from torch.utils.data import DataLoader, Dataset
from training import BATCH, SIZE, plain_transforms

from pneumonia.config.resolve import resolve
from pneumonia.config.schema import Config, PreprocessConfig
from pneumonia.data import packing
from pneumonia.data.images import Images
from pneumonia.data.packing import Packed
from pneumonia.evaluation.shortcut_ablation import remove_shortcuts
from pneumonia.modelling._torchvision import models
from pneumonia.modelling.architectures.resnet18 import IMAGENET_MEAN, IMAGENET_STD
from pneumonia.modelling.checkpoint import load_checkpoint
from pneumonia.modelling.device import Compute
from pneumonia.modelling.network import assemble_network
from pneumonia.modelling.scoring import predict_probabilities
from pneumonia.modelling.training_loop import CHECKPOINT, fit
from pneumonia.modelling.training_set import TrainingSet
from pneumonia.modelling.weights import read_state, transfer
from pneumonia.records.epoch import Epoch

OURS = ("preprocess.size=128", "train.epochs=3", "train.progressive_start_size=96", "train.warmup_epochs=0.3")
OURS += ("train.patience=0", "train.bn_recalibration_images=256", "train.threads=1", "data.workers=1")
"""A short form of profile `full` at the size where a step costs a third; chosen for its cost, tried on no result."""
AIMS = {"bf16": 10.0, "fp32": 5.0}
Point = dict[str, float]


class Clock:
    """Seconds by the clock and of the processor, without those that are paused."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0
        self.resume()

    def pause(self) -> Point:
        """Stop, and return the seconds so far."""
        self.wall += time.perf_counter() - self._wall
        self.cpu += time.process_time() - self._cpu
        return {"seconds": round(self.wall, 2), "cpu_seconds": round(self.cpu, 2)}

    def resume(self) -> None:
        """Go on."""
        self._wall, self._cpu = time.perf_counter(), time.process_time()


class Files(Dataset[Any]):
    """Files that are decoded each time, with their labels."""

    def __init__(self, root: Path, packed: Packed, rows: NDArray[np.int64]) -> None:
        self.entries = [packed.manifest.entries[row] for row in rows]
        self.root, self.steps = root, plain_transforms()

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, at: int) -> tuple[torch.Tensor, int]:
        entry = self.entries[at]
        return self.steps(Image.open(self.root / entry.path).convert("RGB")), entry.label


def chosen(packed: Packed, split: str, count: int, seed: int) -> NDArray[np.int64]:
    """Return the rows of some images of a split, drawn at random."""
    rows = packed.manifest.indices(split)
    return np.sort(np.random.default_rng(seed).permutation(rows)[:count]).astype(np.int64)


def packed_for(
    given: argparse.Namespace, config: Config, preprocess: PreprocessConfig, work: Path
) -> tuple[Packed, Point]:
    """Decode the data set, and return it with what that took for the radiographs that are trained on."""
    clock = Clock()
    packed = packing.pack(given.data, config.data, preprocess, work)
    share = given.radiographs / len(packed.manifest.entries)
    return packed, {name: value * share for name, value in clock.pause().items()}


def train_ours(given: argparse.Namespace, config: Config, work: Path) -> list[Point]:
    """Train with the library; return time and quality after each epoch."""
    packed, decoding = packed_for(given, config, config.preprocess, work)
    rows, patients, labels = np.arange(len(packed.pixels)), packed.manifest.patients, packed.manifest.labels
    images = Images(packed.pixels, rows, labels, patients)
    seed = config.train.seed
    held = images.take(chosen(packed, "validation", given.validation, seed))
    shown = remove_shortcuts(held.pixels[held.rows], config.preprocess)
    points: list[Point] = []
    clock = Clock()

    def on_epoch(epoch: Epoch) -> None:
        at = clock.pause()
        loaded = load_checkpoint(work / CHECKPOINT, "benchmark")
        assert loaded is not None
        state = loaded[1].get("ema") or loaded[1]["best"]
        network = assemble_network(state, "resnet18", flip_tta=False)
        scores = predict_probabilities(network, shown, np.arange(len(shown)), Compute.of(config.train))
        auroc = float(roc_auc_score(held.labels, scores))
        points.append(
            {"epoch": epoch.epoch, **{name: round(at[name] + decoding[name], 2) for name in at}, "auroc": auroc}
        )
        print(f"ours: {points[-1]}", file=sys.stderr, flush=True)
        clock.resume()

    train = images.take(chosen(packed, "train", given.radiographs, seed))
    fit(TrainingSet(train, held), config, work, "benchmark", on_epoch)
    return points


def train_plain(given: argparse.Namespace, config: Config, work: Path) -> list[Point]:
    """Train with the plain recipe; return time and quality after each epoch."""
    unchanged = PreprocessConfig(size=SIZE)
    packed, _ = packed_for(given, config, unchanged, work)
    seed = config.train.seed
    torch.manual_seed(seed)
    held = chosen(packed, "validation", given.validation, seed)
    shown = remove_shortcuts(packed.pixels[held], unchanged)
    network = models().resnet18(weights=None, num_classes=2)
    transfer(network, read_state(given.weights), "resnet18", str(given.weights))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    rows = chosen(packed, "train", given.radiographs, seed)
    files = DataLoader(Files(given.data, packed, rows), BATCH, shuffle=True)
    points: list[Point] = []
    clock = Clock()
    for number in range(1, given.epochs + 1):
        network.train()
        for images, labels in files:
            loss = F.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        at = clock.pause()
        auroc = float(roc_auc_score(packed.manifest.labels[held], scored(network, shown)))
        points.append({"epoch": number, **at, "auroc": auroc})
        print(f"plain: {points[-1]}", file=sys.stderr, flush=True)
        clock.resume()
    return points


@torch.inference_mode()
def scored(network: torch.nn.Module, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the plain network's probabilities of grey images uint8 [n, S, S]."""
    network.eval()
    mean, deviation = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    found = []
    for start in range(0, len(pixels), BATCH):
        grey = torch.from_numpy(pixels[start : start + BATCH]).float().div_(255)[:, None].expand(-1, 3, -1, -1)
        found.append(network((grey - mean) / deviation).softmax(1)[:, 1])
    return torch.cat(found).numpy()


def reached(points: list[Point], target: float) -> Point | None:
    """Return the first point of at least this quality; None where there is none."""
    return next((point for point in points if point["auroc"] >= target), None)


def compare(given: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Train both with a seed, and compare the times to the target."""
    names = [f"data.root={given.data}", f"model.weights={given.weights}", *OURS, *given.settings, f"train.seed={seed}"]
    config = resolve("full", assignments=names, environment={})
    found: dict[str, list[Point]] = {}
    recipes = {"ours": train_ours, "plain": train_plain}
    with tempfile.TemporaryDirectory() as folder:
        for name in sorted(recipes, reverse=bool(seed % 2)):
            found[name] = recipes[name](given, config, Path(folder) / name)
    target = max(point["auroc"] for point in found["plain"])
    there, here = (reached(found[name], target) for name in ("plain", "ours"))
    assert there is not None
    ratios = {unit: round(there[unit] / here[unit], 2) if here else None for unit in ("seconds", "cpu_seconds")}
    return {"seed": seed, "target_auroc_without_shortcuts": target, **found, "times_as_fast": ratios}


def overall(ratios: list[float | None]) -> dict[str, float] | None:
    """Return the geometric mean with its 95 % interval; None where ours has not reached the target with a seed."""
    logs = [math.log(ratio) for ratio in ratios if ratio is not None]
    if len(logs) < len(ratios):
        return None
    interval = ttest_1samp(logs, 0).confidence_interval()
    parts = {"mean": fmean(logs), "low": float(interval.low), "high": float(interval.high)}
    return {name: round(math.exp(value), 2) for name, value in parts.items()}


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Compare with each seed."""
    torch.set_num_threads(1)
    compute = Compute.of(resolve("full", assignments=[*OURS, *given.settings], environment={}).train)
    load = round(os.getloadavg()[0], 1)
    seeds = [compare(given, seed) for seed in range(given.seeds)]
    ratio = overall([each["times_as_fast"]["cpu_seconds"] for each in seeds])
    aim = AIMS[compute.precision]
    return {
        **processor(),
        "imitated": "AVX2" if given.imitate_avx2 else None,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "precision": compute.precision,
        "threads": torch.get_num_threads(),
        "load": load,
        "versions": versions("torch", "torchvision"),
        "radiographs": given.radiographs,
        "validation": given.validation,
        "settings": [*OURS, *given.settings],
        "seeds": seeds,
        "times_as_fast": ratio,
        "aim": aim,
        "met": ratio is not None and ratio["mean"] >= aim,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "chest_xray")
    parser.add_argument("--weights", type=Path, required=True, help="initial weights of both")
    parser.add_argument("--radiographs", type=int, default=512, help="that are trained on")
    parser.add_argument("--validation", type=int, default=300, help="that the quality is measured on")
    parser.add_argument("--epochs", type=int, default=4, help="of the plain recipe")
    parser.add_argument("--seeds", type=int, default=5, help="two or more, for the interval")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument(
        "--imitate-avx2", action="store_true", help="use neither AVX-512 nor bf16, where there are such"
    )
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results" / "time_to_quality.json")
    given = parser.parse_args()
    if given.imitate_avx2:
        given.settings.append("train.precision=fp32")
    name = "imitated_avx2" if given.imitate_avx2 else "native"
    known = json.loads(given.results.read_text(encoding="utf-8")) if given.results.exists() else {}
    known[name] = measure(given)
    given.results.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: known[name][key] for key in ("times_as_fast", "aim", "met", "load")}))


if __name__ == "__main__":
    main()
