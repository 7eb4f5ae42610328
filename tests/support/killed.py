"""Trainings that are killed and go on, each in a process of its own; run as a program, it prints what they came to.

The processes are forked from one that has imported everything: an import takes longer than a whole training here.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from pneumonia.config.resolve import resolve
from pneumonia.modelling.training_loop import fit
from pneumonia.modelling.training_set import TrainingSet

EPOCHS, EPOCH_STEPS = 3, 6
SETTINGS = (
    "data.root=phantom",
    "preprocess.size=32",
    f"train.epochs={EPOCHS}",
    "train.batch_size=16",
    "train.threads=1",
    "train.norm_films=64",
    "train.patience=0",
)


def train(folder: Path, out: int) -> None:
    """Train, telling each step and in the end the weights' digest."""
    count = 16 * EPOCH_STEPS
    labels = np.arange(count + 32) % 2
    pixels = np.random.default_rng(0).integers(0, 200, (count + 32, 32, 32), dtype=np.uint8)
    pixels[labels == 1, 8:16, 8:16] += 50
    data = TrainingSet(pixels, labels, np.arange(count), np.arange(count, count + 32), [])
    config = resolve("full", environment={}, assignments=SETTINGS)
    done = fit(data, config, folder, "key", on_step=lambda step, steps: tell(out, step=step))
    tell(out, digest=done.weights_digest, resumed=done.resumed)


def tell(out: int, **what: object) -> None:
    os.write(out, (json.dumps(what) + "\n").encode())


def run(folder: Path, step: int = 0, delay: float = 0.0, number: int = 0) -> dict[str, object]:
    """Train in a child; send it a signal `delay` seconds after a step, if there is one to send."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        code = 1
        try:
            train(folder, writing)
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


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    found: dict[str, object] = {"undisturbed": run(folder / "undisturbed")}
    shutil.rmtree(folder / "undisturbed")
    drawn, kills = random.Random(0), []
    for number in range(10):
        place = folder / str(number)
        # between the end of a step and well into what follows: a step, a validation, the writing of a checkpoint
        step, delay = drawn.randrange(1, EPOCHS * EPOCH_STEPS), drawn.uniform(0, 0.2)
        kills.append({"killed": run(place, step, delay, signal.SIGKILL), "resumed": run(place)})
        shutil.rmtree(place)
    found["kills"] = kills
    place = folder / "often"
    found["often"] = [run(place, step, 0.0, signal.SIGKILL) for step in (8, 10, 14)] + [run(place)]
    place = folder / "polite"
    found["polite"] = [run(place, 8, 0.0, signal.SIGTERM), run(place)]
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
