"""Images per second of a training epoch, decoding included, against the plain recipe, in one run.

python benchmarks/training.py [--data DIR] [--films N] [--rounds N] [--json]

The plain recipe is what a first script does: files opened one by one as RGB, resized, ImageNet-normalised, a DataLoader
with num_workers=0, ResNet18 in float32 and contiguous. Ours is the product's own path: `pixels.pack`, then `train.fit`
with the recipe of the profile `full`. Same films, batch, size and threads; the two take turns, so that other work on
the machine meets both. Peak is the fastest bf16 matrix product or convolution of the same run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader, Dataset

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pneumonia import model  # noqa: E402
from pneumonia.config import CLASSES, Config, PhantomConfig, resolve  # noqa: E402
from pneumonia.data import phantom, pixels  # noqa: E402
from pneumonia.train import Epoch, TrainingSet, fit  # noqa: E402

SIZE, BATCH = 224, 64
# He et al. 2016: 1.82 billion multiply-adds forward at 224 px, two operations each; backward costs twice as much
FLOPS_PER_IMAGE = 3 * 2 * 1.82e9


class PlainFolder(Dataset[tuple[torch.Tensor, int]]):
    """Files, opened one by one."""

    def __init__(self, files: list[tuple[Path, int]]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, label = self.files[index]
        with Image.open(path) as image:
            resized = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        tensor = torch.from_numpy(np.array(resized)).permute(2, 0, 1).float().div(255)
        mean, deviation = torch.tensor(model.IMAGENET_MEAN), torch.tensor(model.IMAGENET_STD)
        return (tensor - mean[:, None, None]) / deviation[:, None, None], label


def plain(files: list[tuple[Path, int]]) -> float:
    """Train one epoch in the plain way and return its images per second."""
    network = model.build("none", seed=0).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    began = time.perf_counter()
    for images, labels in DataLoader(PlainFolder(files), batch_size=BATCH, shuffle=True, num_workers=0):
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return len(files) / (time.perf_counter() - began)


def ours(root: Path, count: int, config: Config) -> dict[str, float]:
    """Decode cold and train two epochs in the product's way."""
    epochs: list[Epoch] = []
    with tempfile.TemporaryDirectory() as work:
        began = time.perf_counter()
        packed = pixels.pack(root, config.data, config.preprocess, Path(work))
        # of films that are not trained on, too: an overcount of our own time
        decoding = (time.perf_counter() - began) * count / len(packed.manifest.entries)
        chosen = _both_classes(packed.manifest.labels, count)
        data = TrainingSet(packed.pixels, packed.manifest.labels, chosen, chosen[:BATCH])
        fit(data, config, Path(work) / "training", "benchmark", epochs.append)
    first = count / epochs[0].images_per_second + decoding
    return {
        "first_epoch": count / first,
        "later_epochs": epochs[-1].images_per_second,
        "decoding": count / decoding,
        "data_wait": epochs[-1].data_wait,
    }


def _both_classes(labels: np.ndarray, count: int) -> np.ndarray:
    """Choose films at random, always the same, so that every stretch of them holds both classes."""
    return np.random.default_rng(0).permutation(len(labels))[:count].astype(np.int64)


def peak() -> float:
    """Return the best rate of bf16 products and of a convolution, operations per second."""
    best = 0.0
    with torch.inference_mode():
        for side in (512, 1024, 2048):
            a, b = (torch.randn(side, side).bfloat16() for _ in range(2))
            best = max(best, 2 * side**3 / _fastest(lambda a=a, b=b: torch.mm(a, b.t())))
        images = torch.randn(64, 512, 14, 14).bfloat16().contiguous(memory_format=torch.channels_last)
        weights = torch.randn(512, 512, 3, 3).bfloat16()
        operations = 2 * images.numel() * 512 * 9
        return max(best, operations / _fastest(lambda: F.conv2d(images, weights, padding=1)))


def _fastest(compute: Callable[[], torch.Tensor]) -> float:
    seconds = []
    for _ in range(8):
        began = time.perf_counter()
        compute()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def measure(root: Path, count: int, rounds: int) -> dict[str, Any]:
    """Let both take turns and return the medians."""
    settings = ["train.epochs=2", "train.patience=0", "train.norm_films=0", "model.weights=none", f"data.root={root}"]
    config = resolve("full", assignments=[*settings, "train.warmup_epochs=0"], environment={})
    names = [(path, label) for label, name in enumerate(CLASSES) for path in sorted(root.rglob(f"{name}/*"))]
    count = min(count, len(names))
    files = [names[index] for index in np.random.default_rng(0).permutation(len(names))[:count]]
    taken: list[dict[str, float]] = []
    for _ in range(rounds):
        taken.append({"plain": plain(files), "peak": peak(), **ours(root, count, config)})
    middle = {name: median(turn[name] for turn in taken) for name in taken[0]}
    return {
        "ratio": median(turn["first_epoch"] / turn["plain"] for turn in taken),
        "ratio_later_epochs": median(turn["later_epochs"] / turn["plain"] for turn in taken),
        "ours_images_per_second": middle["first_epoch"],
        "ours_later_epochs_images_per_second": middle["later_epochs"],
        "ours_decoding_images_per_second": middle["decoding"],
        "plain_images_per_second": middle["plain"],
        "data_wait_share": middle["data_wait"],
        "bf16_peak_gflops": middle["peak"] / 1e9,
        "achieved_gflops": middle["later_epochs"] * FLOPS_PER_IMAGE / 1e9,
        "peak_share": median(turn["later_epochs"] * FLOPS_PER_IMAGE / turn["peak"] for turn in taken),
        "films": count,
        "batch": BATCH,
        "size": SIZE,
        "rounds": rounds,
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "films_from": "phantoms" if (root / "phantom.json").exists() else "radiographs at original resolution",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of full-size films; phantoms of 1024 px where none is named")
    parser.add_argument("--films", type=int, default=256, help="films of an epoch")
    parser.add_argument("--rounds", type=int, default=3, help="turns that each of the two takes")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = given.data or phantom.generate(Path(folder), PhantomConfig(train=given.films, test=16, size=1024))
        found = measure(root, given.films, given.rounds)
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        print(f"{name:<38} {value:.3f}" if isinstance(value, float) else f"{name:<38} {value}")


if __name__ == "__main__":
    main()
