"""Images per second of a training epoch, decoding included, against the plain recipe, in one run.

python benchmarks/training.py [--data DIR] [--films N] [--epochs N] [--json]

The plain recipe is what a first script does: files opened one by one as RGB, resized, ImageNet-normalised, a DataLoader
with num_workers=0, ResNet18 in float32 and contiguous. Ours is the product's own path: `pixels.pack`, then `train.fit`
with the recipe of the profile `full`. Same films, batch, size and threads. The plain recipe runs in a process of its
own and takes one step after each step of ours, so that other work on the machine meets both alike; rates are made from
medians of a step. Peak is the fastest bf16 matrix product or convolution of the same run.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
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
from pneumonia.config import CLASSES, Config, PhantomConfig, is_phantom, resolve  # noqa: E402
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


def plain(files: list[tuple[Path, int]], threads: int, caller: Connection) -> None:
    """Train in the plain way, a step whenever the caller asks for one, and answer with its seconds."""
    torch.set_num_threads(threads)
    network = model.build("none", seed=0).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    batches: Iterator[Any] = iter(())
    caller.send(0.0)  # ready: its imports are no part of anyone's time
    while caller.recv():
        began = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            batches = iter(DataLoader(PlainFolder(files), batch_size=BATCH, shuffle=True, num_workers=0))
            batch = next(batches)
        loss = F.cross_entropy(network(batch[0]), batch[1])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        caller.send(time.perf_counter() - began)


class Turns:
    """Lets the plain recipe take a step after each of ours, and keeps the seconds of both.

    After each epoch all films are packed anew: one packing is over so soon that it meets only quiet or only noise.
    """

    def __init__(self, other: Connection, pack: Callable[[], float]) -> None:
        self.other = other
        self.pack = pack
        self.decoding = [pack()]
        self.ours: list[float] = []
        self.plain: list[float] = []
        self.peaks: list[float] = []
        self.epochs: list[Epoch] = []
        self.began = time.perf_counter()

    def on_step(self, *_: int) -> None:
        self.ours.append(time.perf_counter() - self.began)
        self.other.send(True)
        self.plain.append(self.other.recv())
        self.began = time.perf_counter()

    def on_epoch(self, epoch: Epoch) -> None:
        self.epochs.append(epoch)
        self.peaks.append(peak())
        self.decoding.append(self.pack())
        self.began = time.perf_counter()


def ours(packed: pixels.Packed, count: int, config: Config, turns: Turns) -> None:
    """Train in the product's way."""
    chosen = np.random.default_rng(0).permutation(len(packed.manifest.entries))[:count].astype(np.int64)
    data = TrainingSet(packed.pixels, packed.manifest.labels, chosen, chosen[:BATCH])
    with tempfile.TemporaryDirectory() as folder:
        fit(data, config, Path(folder), "benchmark", turns.on_epoch, turns.on_step)


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


def measure(root: Path, count: int, epochs: int) -> dict[str, Any]:
    """Let both take turns; the first step of each, which prepares kernels and memory, is not counted."""
    settings = ["train.patience=0", "train.norm_films=0", "model.weights=none", f"data.root={root}"]
    config = resolve("full", assignments=[*settings, f"train.epochs={epochs}"], environment={})
    files = [(path, label) for label, name in enumerate(CLASSES) for path in sorted(root.rglob(f"{name}/*"))]
    count = min(count, len(files)) // BATCH * BATCH
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    worker = context.Process(target=plain, args=(files, torch.get_num_threads(), there), daemon=True)
    worker.start()
    here.recv()
    turns = Turns(here, lambda: _pack_anew(root, config))
    with tempfile.TemporaryDirectory() as work:
        ours(pixels.pack(root, config.data, config.preprocess, Path(work)), count, config, turns)
    here.send(False)
    worker.join()
    return _figures(turns) | {
        "films": count,
        "epochs": epochs,
        "batch": BATCH,
        "size": SIZE,
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "films_from": "phantoms" if is_phantom(str(root)) else "radiographs at original resolution",
    }


def _pack_anew(root: Path, config: Config) -> float:
    """Decode all films and return the seconds of one."""
    with tempfile.TemporaryDirectory() as work:
        began = time.perf_counter()
        packed = pixels.pack(root, config.data, config.preprocess, Path(work))
        return (time.perf_counter() - began) / len(packed.manifest.entries)


def _figures(turns: Turns) -> dict[str, float]:
    """Make rates from steps; the first epoch pays for the decoding, the later ones do not."""
    decoding = median(turns.decoding)
    pairs = list(zip(turns.ours, turns.plain, strict=True))[1:]
    step, highest = median(mine for mine, _ in pairs), max(turns.peaks)
    operations = BATCH * FLOPS_PER_IMAGE
    return {
        "ratio": median(other / (mine + BATCH * decoding) for mine, other in pairs),
        "ratio_later_epochs": median(other / mine for mine, other in pairs),
        "ours_images_per_second": BATCH / (step + BATCH * decoding),
        "ours_later_epochs_images_per_second": BATCH / step,
        "ours_decoding_images_per_second": 1 / decoding,
        "plain_images_per_second": BATCH / median(other for _, other in pairs),
        "data_wait_share": _data_wait(turns),
        "bf16_peak_gflops": highest / 1e9,
        "achieved_gflops": operations / step / 1e9,
        "peak_share": operations / step / highest,
        "peak_share_of_fastest_step": operations / min(turns.ours) / highest,
    }


def _data_wait(turns: Turns) -> float:
    """Return the share of our own steps that waits for pixels, from the second epoch on.

    An epoch's `seconds` hold the plain recipe's turns, too, and its `data_wait` is a share of them.
    """
    later = turns.epochs[1:]
    first = len(turns.ours) // len(turns.epochs)
    return sum(epoch.data_wait * epoch.seconds for epoch in later) / sum(turns.ours[first:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of full-size films; phantoms of 1024 px where none is named")
    parser.add_argument("--films", type=int, default=256, help="films of an epoch")
    parser.add_argument("--epochs", type=int, default=3, help="epochs, at least 2")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = given.data or phantom.generate(Path(folder), PhantomConfig(train=given.films, test=16, size=1024))
        found = measure(root, given.films, max(given.epochs, 2))
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        print(f"{name:<38} {value:.3f}" if isinstance(value, float) else f"{name:<38} {value}")


if __name__ == "__main__":
    main()
