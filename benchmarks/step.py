"""Measure what each part of a training step takes, and which share of this processor's peak the step reaches.

python benchmarks/step.py [--data DIR] [--rounds N]

The step is that of profile `full` at 224 px with batches of 64: in float32 on AVX2 and on all that the processor has,
and in bf16 where it computes that natively. A processor with AVX-512 imitates one with AVX2: torch, oneDNN and MKL
are kept from more by environment variables, each mode in a process of its own. One thread computes, and times are the
processor's seconds, so that other load on the machine does not count; of the rounds the fastest one is shown. Peak is
the fastest matrix product or convolution in the same type, measured between the rounds. The share of the peak is that
of the operations of forward and backward, as torch counts them, over the time of the whole step. Other ways to
compute the same step are timed in turns with it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from processor import AVX2_IMITATED, processor, versions

from pneumonia.config.resolve import resolve
from pneumonia.config.schema import AugmentConfig, Config
from pneumonia.data.layout import find_files
from pneumonia.imaging import radiograph
from pneumonia.modelling._torchvision import models
from pneumonia.modelling.augment import augment
from pneumonia.modelling.device import Compute, kept_memory
from pneumonia.modelling.ema import MovingAverage
from pneumonia.modelling.network import build_network
from pneumonia.modelling.optimizer import build_optimizer
from pneumonia.modelling.schedule import resize_batch

SIZE, BATCH, AIM = 224, 64, 0.7
MODES = {
    "fp32, AVX2 imitated": ("fp32", AVX2_IMITATED),
    "fp32": ("fp32", {}),
    "bf16": ("bf16", {}),
}
CHANGES = {
    "geometry": ("flip", "rotation", "scale", "aspect", "shift"),
    "brightness and contrast": ("brightness", "contrast"),
    "gamma": ("gamma",),
    "blur": ("blur",),
    "jpeg": ("jpeg",),
    "noise": ("noise",),
}
OFF = {name: 100 if name == "jpeg" else 0 for names in CHANGES.values() for name in names}


class Parts:
    """The seconds of each part, a list for each."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what is inside."""
        began = time.process_time()
        yield
        self.seconds[name].append(time.process_time() - began)

    def table(self) -> dict[str, float]:
        """Return the milliseconds of each part: the fastest."""
        return {name: round(1000 * min(values), 2) for name, values in self.seconds.items()}


def peak(kind: torch.dtype) -> float:
    """Return the highest rate of matrix products and of a convolution in this type, operations per second."""
    best = 0.0
    with torch.inference_mode():
        for side in (512, 1024, 2048):
            a, b = (torch.randn(side, side).to(kind) for _ in range(2))
            best = max(best, 2 * side**3 / _fastest(partial(torch.mm, a, b.t())))
        images = torch.randn(64, 512, 14, 14).to(kind).contiguous(memory_format=torch.channels_last)
        weights = torch.randn(512, 512, 3, 3).to(kind)
        operations = 2 * images.numel() * 512 * 9
        return max(best, operations / _fastest(lambda: F.conv2d(images, weights, padding=1)))


def _fastest(compute: Callable[[], object]) -> float:
    seconds = []
    for _ in range(6):
        began = time.process_time()
        compute()
        seconds.append(time.process_time() - began)
    return min(seconds)


def operations(config: Config) -> float:
    """Return the operations of forward and backward of one image: what the library's network really computes."""
    network, images = (
        build_network("resnet18", "none", 0),
        torch.zeros(1, config.preprocess.size, config.preprocess.size),
    )
    with FlopCounterMode(display=False) as counted:
        network.eval()(images).sum().backward()
    return float(counted.get_total_flops())


class ThreeChannels(nn.Module):
    """Torchvision's own network, fed with three equal standardised channels: the usual way."""

    def __init__(self) -> None:
        super().__init__()
        self.network = models().resnet18(weights=None, num_classes=2)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of grey images float [B, H, W]."""
        logits: Tensor = self.network(((images - 0.45) / 0.225)[:, None].expand(-1, 3, -1, -1).contiguous())
        return logits


class Step:
    """A training step of the library's own parts, timed one by one."""

    def __init__(self, config: Config, pixels: Any, *, layout: Any = torch.channels_last, grey: bool = True) -> None:
        self.config, self.compute, self.pixels = config, Compute.of(config.train), pixels
        network = build_network("resnet18", "none", 0) if grey else ThreeChannels()
        self.network = network.train().to(memory_format=layout)  # type: ignore[call-overload]
        self.optimizer = build_optimizer(self.network, config.train)
        self.average = MovingAverage(self.network, config.train.ema_decay)
        self.labels = torch.arange(len(pixels)) % 2
        self.done = 0

    def run(self, parts: Parts) -> None:
        """Do one step."""
        with parts.part("fetch"):
            images = self.compute.images(self.pixels)
        with parts.part("augmentation"):
            images = augment(images, self.config.augment, torch.Generator().manual_seed(self.done))
        with parts.part("forward"):
            with self.compute.autocast():
                logits = self.network(images)
            loss = F.cross_entropy(logits.float(), self.labels, label_smoothing=self.config.train.label_smoothing)
        with parts.part("backward"):
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
        with parts.part("optimiser"):
            self.optimizer.step()
        with parts.part("moving average"):
            self.average.update(self.done)
        with parts.part("metrics"):
            float(loss.detach()), int((logits.argmax(1) == self.labels).sum())
        self.done += 1


def once(config: Config, files: list[Path]) -> tuple[Any, float]:
    """Decode a batch in one thread, as is done once for all epochs; return its pixels and the seconds."""
    began = time.process_time()
    pixels = np.stack([radiograph.read(file, config.preprocess).pixels for file in files])
    return pixels, time.process_time() - began


def others(config: Config, pixels: Any) -> dict[str, tuple[Step, Any]]:
    """Return other ways to compute the step, with the context in which each runs; the library's own is first."""
    return {
        "the library's": (Step(config, pixels), kept_memory),
        "contiguous instead of channels-last": (Step(config, pixels, layout=torch.contiguous_format), kept_memory),
        "three channels instead of grey": (Step(config, pixels, grey=False), kept_memory),
        "memory returned to the kernel": (Step(config, pixels), nullcontext),
    }


def child(given: argparse.Namespace) -> dict[str, Any]:
    """Measure one mode."""
    settings = [f"data.root={given.data}", "model.weights=none", f"train.precision={given.precision}"]
    config = resolve("full", assignments=[*settings, "train.device=cpu", "train.threads=1"], environment={})
    torch.set_num_threads(1)
    found = find_files(given.data)
    files = [found[at] for at in np.random.default_rng(0).permutation(len(found))[:BATCH]]
    pixels, decoding = once(config, files)
    kind = torch.bfloat16 if given.precision == "bf16" else torch.float32
    parts, whole, peaks = Parts(), Parts(), []
    steps = others(config, pixels)
    for number in range(given.rounds + 1):  # the first one warms up
        peaks.append(peak(kind))
        for name, (step, context) in list(steps.items())[:: 1 if number % 2 else -1]:
            own = name == "the library's"
            with context(), whole.part(name):
                step.run(parts if own else Parts())
        print(f"{given.precision}: round {number} of {given.rounds}", file=sys.stderr, flush=True)
    augmentation(config, pixels, parts, given.rounds)
    seconds = min(whole.seconds["the library's"])
    rate = BATCH * operations(config) / seconds
    return {
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "decoding_once_ms": round(1000 * decoding, 1),
        "parts_ms": parts.table(),
        "step_ms": round(1000 * seconds, 1),
        "images_per_second": round(BATCH / seconds, 1),
        "gflops": round(rate / 1e9),
        "peak_gflops": round(max(peaks) / 1e9),
        "peak_share": round(rate / max(peaks), 3),
        "step_relative": {name: round(min(values) / seconds, 3) for name, values in whole.seconds.items()},
    }


def augmentation(config: Config, pixels: Any, parts: Parts, rounds: int) -> None:
    """Time each change of the augmentation alone, and the resize of progressive resizing, which full size has not."""
    images = Compute().images(pixels)
    with kept_memory():
        for _ in range(rounds):
            for name, fields in CHANGES.items():
                own = AugmentConfig(**{**OFF, **{field: getattr(config.augment, field) for field in fields}})
                with parts.part(f"augmentation: {name}"):
                    augment(images, own, torch.Generator().manual_seed(0))
            with parts.part("resize to 128 px (progressive resizing)"):
                resize_batch(images, 128)


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Measure every mode that this processor has, each in a process of its own."""
    found: dict[str, Any] = {**processor(), "load": round(os.getloadavg()[0], 1), "versions": versions("torch")}
    native = "avx512_bf16" in found["features"] or "amx_tile" in found["features"]
    found |= {
        "batch": BATCH,
        "size": SIZE,
        "rounds": given.rounds,
        "aim": f"{AIM} of the fp32 peak with AVX2",
        "modes": {},
    }
    for name, (precision, environment) in MODES.items():
        if precision == "bf16" and not native:
            continue
        command = [sys.executable, __file__, "--child", precision, "--rounds", str(given.rounds)]
        command += ["--data", str(given.data)]
        done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True)
        found["modes"][name] = json.loads(done.stdout.splitlines()[-1])
    found["met"] = found["modes"]["fp32, AVX2 imitated"]["peak_share"] >= AIM
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "chest_xray")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results" / "step.json")
    parser.add_argument("--child", dest="precision", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.precision:
        print(json.dumps(child(given)))
        return
    found = measure(given)
    given.results.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for name, mode in found["modes"].items():
        print(
            f"{name}: {mode['images_per_second']} images/s, {mode['peak_share']:.0%} of {mode['peak_gflops']} GFLOP/s"
        )


if __name__ == "__main__":
    main()
