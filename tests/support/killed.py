"""Trainings that are killed and resumed, each in a process of its own; run as a program, it prints their results.

The processes are forked from one that has imported everything: an import takes longer than a whole training here.

python tests/support/killed.py FOLDER places    killed once at each place that differs
python tests/support/killed.py FOLDER moments   ResNet18, killed ten times at random moments
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.metrics  # noqa: F401 - what a validation loads, before the forks
import torch

from pneumonia.config.resolve import resolve
from pneumonia.data.images import Images
from pneumonia.files import AtomicFile
from pneumonia.modelling import training_loop, validation
from pneumonia.modelling.training_set import TrainingSet

EPOCHS, EPOCH_STEPS = 3, 6
SETTINGS = (
    "data.root=phantom",
    "preprocess.size=32",
    f"train.epochs={EPOCHS}",
    "train.batch_size=16",
    "train.threads=1",
    "train.bn_recalibration_images=64",
    "train.patience=0",
)


def train(folder: Path, out: int, architecture: str) -> None:
    """Train, reporting each step and in the end the weights' digest."""
    count = 16 * EPOCH_STEPS
    labels = np.arange(count + 32) % 2
    pixels = np.random.default_rng(0).integers(0, 200, (count + 32, 32, 32), dtype=np.uint8)
    pixels[labels == 1, 8:16, 8:16] += 50
    images = Images(pixels, np.arange(count + 32), labels, [""] * (count + 32))
    data = TrainingSet(images.take(np.arange(count)), images.take(np.arange(count, count + 32)))
    config = resolve("full", environment={}, assignments=[*SETTINGS, f"model.architecture={architecture}"])
    done = training_loop.fit(data, config, folder, "key", on_step=lambda step, steps, _="": report(out, step=step))
    report(out, digest=done.weights_digest, resumed=done.resumed)


def report(out: int, **what: object) -> None:
    os.write(out, (json.dumps(what) + "\n").encode())


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(holder: Any, name: str, number: int, act: Callable[..., None] = lambda *_: die()) -> Callable[[], None]:
    """Return what makes a process act when `holder.name` is called for the `number`-th time, before it does its
    work."""

    def arm() -> None:
        whole, calls = getattr(holder, name), [0]

        def watched(*given: Any, **named: Any) -> Any:
            calls[0] += 1
            if calls[0] == number:
                act(*given)
            return whole(*given, **named)

        setattr(holder, name, watched)

    return arm


def half_written(file: AtomicFile, content: bytes) -> None:
    os.write(file._file, content[: len(content) // 2])
    die()


PLACES = {
    "in a step": at_call(training_loop, "augment", EPOCH_STEPS + 3),
    "in a validation": at_call(validation, "predict_probabilities", 2),
    "in the writing of a checkpoint": at_call(AtomicFile, "write", 2, half_written),
}
"""By place, what ends a training there: always in its second epoch."""


def run(
    folder: Path,
    architecture: str,
    arm: Callable[[], None] = lambda: None,
    step: int = 0,
    delay: float = 0.0,
    number: int = 0,
) -> dict[str, object]:
    """Train in a child; send it a signal `delay` seconds after a step, if there is one to send."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        code = 1
        try:
            arm()
            train(folder, writing, architecture)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    steps, last = [], {}
    with os.fdopen(reading) as lines:
        for line in lines:
            last = json.loads(line)
            if "step" in last:
                steps.append(last["step"])
                if number and steps[-1] == step:
                    time.sleep(delay)
                    os.kill(child, number)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {"steps": steps, "status": status, "digest": last.get("digest"), "resumed": last.get("resumed")}


def places(folder: Path) -> dict[str, object]:
    found: dict[str, object] = {"undisturbed": run(folder / "undisturbed", "tiny")}
    for name, arm in PLACES.items():
        found[name] = [run(folder / name, "tiny", arm), run(folder / name, "tiny")]
    # each kill is in the second epoch, which the next start begins anew
    often = (
        at_call(validation, "predict_probabilities", 2),
        at_call(training_loop, "augment", 3),
        at_call(AtomicFile, "write", 1, half_written),
    )
    found["again and again"] = [run(folder / "often", "tiny", arm) for arm in often] + [run(folder / "often", "tiny")]
    slow = at_call(training_loop, "augment", 9, lambda *_: time.sleep(1))  # the signal comes while this step waits
    found["sigterm"] = [
        run(folder / "sigterm", "tiny", slow, step=8, number=signal.SIGTERM),
        run(folder / "sigterm", "tiny"),
    ]
    return found


def moments(folder: Path) -> dict[str, object]:
    found: dict[str, object] = {"undisturbed": run(folder / "undisturbed", "resnet18")}
    drawn, kills = random.Random(0), []
    for number in range(10):
        place = folder / str(number)
        # between the end of a step and well into what follows: a step, a validation, the writing of a checkpoint
        step, delay = drawn.randrange(1, EPOCHS * EPOCH_STEPS), drawn.uniform(0, 0.2)
        killed = run(place, "resnet18", step=step, delay=delay, number=signal.SIGKILL)
        kills.append({"killed": killed, "resumed": run(place, "resnet18")})
        shutil.rmtree(place)
    return found | {"kills": kills}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({"places": places, "moments": moments}[sys.argv[2]](Path(sys.argv[1]))))
