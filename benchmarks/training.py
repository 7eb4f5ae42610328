"""Measure the images per second of a training epoch, decoding included, against a plain recipe in the same run.

python benchmarks/training.py [--data DIR] [--radiographs N] [--rounds N] [--device cuda] [--json]

The plain recipe is a typical first script with torchvision: ImageFolder, PIL as RGB, resized, flip, rotation and colour
jitter, ImageNet-normalised, a DataLoader with num_workers=0, ResNet18 in float32 and contiguous. Ours is the library's
own path: `packing.pack`, then `training_loop.fit` with the recipe of profile `full`, whose augmentation does more. Both
use the same radiographs, batch size, image size and threads, and take turns, so that other load on the machine affects
both. A rate is computed from the median step, without each epoch's first one, which prepares kernels and memory (a
real epoch has 73 steps). Our first epoch includes the decoding; the plain recipe decodes in every epoch. Peak is the
fastest bf16 matrix product or convolution of the same run.

On a GPU a step returns before it is computed: there a rate is that of the whole second epoch, at whose end the GPU is
waited for, and the plain recipe is left out, whose time is the processor's decoding. Give 5,000 radiographs there.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pneumonia.config.resolve import resolve
from pneumonia.config.schema import (
    Config,
    PhantomConfig,
)
from pneumonia.data import packing
from pneumonia.data.images import Images
from pneumonia.data.layout import find_files
from pneumonia.data.phantom import dataset
from pneumonia.modelling._torchvision import models
from pneumonia.modelling.architectures.resnet18 import IMAGENET_MEAN, IMAGENET_STD
from pneumonia.modelling.training_loop import fit
from pneumonia.modelling.training_set import TrainingSet
from pneumonia.records.epoch import Epoch

SIZE, BATCH = 224, 64
# He et al. 2016: 1.82 billion multiply-adds forward at 224 px, two operations each; backward costs twice as much
FLOPS_PER_IMAGE = 3 * 2 * 1.82e9


def plain_transforms() -> Any:
    """Return what a typical first script makes of a PIL image in RGB: float [3, SIZE, SIZE], augmented."""
    models()  # afterwards torchvision can be imported also with a torch of another build
    from torchvision import transforms

    return transforms.Compose(
        [
            transforms.Resize((SIZE, SIZE)),
            transforms.RandomHorizontalFlip(),
            transforms.RandomRotation(10),
            transforms.ColorJitter(brightness=0.2, contrast=0.2),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )


def plain_images(root: Path, chosen: NDArray[np.int64]) -> Dataset[Any]:
    """Return a data set of the chosen files below `root`, decoded one by one."""
    steps = plain_transforms()
    from torchvision import datasets

    folders = [datasets.ImageFolder(str(part), steps) for part in sorted(root.iterdir()) if part.is_dir()]
    return Subset(ConcatDataset(folders), chosen.tolist())


def plain(radiographs: Dataset[Any]) -> float:
    """Train one epoch with the plain recipe and return the seconds per step."""
    network = models().resnet18(weights=None, num_classes=2).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    ends = []
    for images, labels in DataLoader(radiographs, batch_size=BATCH, shuffle=True, num_workers=0):
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        ends.append(time.perf_counter())
    return float(np.median(np.diff(ends)))


def ours(root: Path, count: int, config: Config) -> dict[str, float]:
    """Decode and train with the library; return the seconds per step and of decoding a step's radiographs."""
    epochs: list[Epoch] = []
    ends: list[list[float]] = [[]]

    def on_epoch(epoch: Epoch) -> None:
        epochs.append(epoch)
        ends.append([])

    with tempfile.TemporaryDirectory() as work:
        began = time.perf_counter()
        packed = packing.pack(root, config.data, config.preprocess, Path(work))
        decoding = (time.perf_counter() - began) * BATCH / len(packed.manifest.entries)
        # a fixed random selection, so that every part of it holds both classes
        chosen = np.random.default_rng(0).permutation(len(packed.manifest.entries))[:count].astype(np.int64)
        rows, patients = np.arange(len(packed.manifest.entries)), packed.manifest.patients
        images = Images(packed.pixels, rows, packed.manifest.labels, patients)
        data = TrainingSet(images.take(chosen), images.take(chosen[:BATCH]))
        stamp = lambda *_: ends[-1].append(time.perf_counter())  # noqa: E731
        fit(data, config, Path(work) / "training", "benchmark", on_epoch, stamp)
    step = float(np.median(np.concatenate([np.diff(epoch) for epoch in ends if epoch])))
    if config.train.device == "cuda":
        step = BATCH / epochs[-1].images_per_second
    return {"step": step, "decoding": decoding, "data_wait": max(epoch.data_wait for epoch in epochs[1:])}


def peak(device: str = "cpu") -> float:
    """Return the highest rate of bf16 matrix products and of a convolution, operations per second."""
    best = 0.0
    with torch.inference_mode(), torch.device(device):
        for side in (512, 1024, 2048) if device == "cpu" else (4096, 8192):
            a, b = (torch.randn(side, side).bfloat16() for _ in range(2))
            best = max(best, 2 * side**3 / _fastest(partial(torch.mm, a, b.t())))
        images = torch.randn(64, 512, 14, 14).bfloat16().contiguous(memory_format=torch.channels_last)
        weights = torch.randn(512, 512, 3, 3).bfloat16()
        operations = 2 * images.numel() * 512 * 9
        return max(best, operations / _fastest(lambda: F.conv2d(images, weights, padding=1)))


def _fastest(compute: Callable[[], torch.Tensor]) -> float:
    seconds = []
    for _ in range(8):
        began = time.perf_counter()
        result = compute()
        if result.is_cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def measure(root: Path, count: int, rounds: int, device: str = "cpu") -> dict[str, Any]:
    """Measure both in turns and return the medians; on a GPU ours alone."""
    settings = [
        f"preprocess.size={SIZE}",
        "model.weights=none",
        f"data.root={root}",
        "train.epochs=2",
        f"train.device={device}",
    ]
    settings += [
        "train.progressive_start_size=0",
        "train.patience=0",
        "train.bn_recalibration_images=0",
        "train.warmup_epochs=0",
    ]
    config = resolve("full", assignments=settings, environment={})
    total = len(find_files(root))
    count = min(count, total)
    radiographs = plain_images(root, np.random.default_rng(0).permutation(total)[:count])
    taken: list[dict[str, float]] = []
    for _ in range(rounds):
        there = {"plain": plain(radiographs)} if device == "cpu" else {}
        taken.append({**there, "peak": peak(device), **ours(root, count, config)})
        print(f"round {len(taken)} of {rounds}: {taken[-1]}", file=sys.stderr)
    middle = {name: median(turn[name] for turn in taken) for name in taken[0]}
    compared = (
        {
            "ratio": median(turn["plain"] / (turn["step"] + turn["decoding"]) for turn in taken),
            "ratio_later_epochs": median(turn["plain"] / turn["step"] for turn in taken),
            "plain_images_per_second": BATCH / middle["plain"],
        }
        if "plain" in middle
        else {}
    )
    return {
        **compared,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "ours_images_per_second": BATCH / (middle["step"] + middle["decoding"]),
        "ours_later_epochs_images_per_second": BATCH / middle["step"],
        "ours_decoding_images_per_second": BATCH / middle["decoding"],
        "data_wait_share": middle["data_wait"],
        "bf16_peak_gflops": middle["peak"] / 1e9,
        "achieved_gflops": BATCH * FLOPS_PER_IMAGE / middle["step"] / 1e9,
        "peak_share": median(BATCH * FLOPS_PER_IMAGE / turn["step"] / turn["peak"] for turn in taken),
        "radiographs": count,
        "batch": BATCH,
        "size": SIZE,
        "rounds": rounds,
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "images_from": "phantoms" if (root / "phantom.json").exists() else "radiographs at original resolution",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of full-size radiographs; by default phantoms of 1024 px")
    parser.add_argument("--radiographs", type=int, default=256, help="radiographs per epoch")
    parser.add_argument("--rounds", type=int, default=3, help="number of turns of each recipe")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = given.data or dataset.generate(Path(folder), PhantomConfig(train=given.radiographs, test=16, size=1024))
        found = measure(root, given.radiographs, given.rounds, given.device)
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        print(f"{name:<38} {value:.3f}" if isinstance(value, float) else f"{name:<38} {value}")


if __name__ == "__main__":
    main()
