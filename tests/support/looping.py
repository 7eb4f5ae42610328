"""A place of use for tests of the loop: phantoms as its radiographs, a service that answers, two readers who know."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from pneumonia.config.resolve import resolve
from pneumonia.config.schema import CLASSES, Config
from pneumonia.data.phantom import dataset
from pneumonia.imaging.refusal import PHANTOM_COMMENT
from pneumonia.inference.served_model import ServedModel
from pneumonia.monitoring import feedback
from pneumonia.registry.reader import open_reader
from pneumonia.serving.follower import Follower
from pneumonia.serving.keys import Keys
from pneumonia.serving.metrics import Metrics
from pneumonia.serving.monitoring import Monitoring
from pneumonia.serving.pool import Pool
from pneumonia.serving.service import Service
from tests.support.serving import client_of

SIZE = 64
GAMMA, NOISE = 1.5, 2.0
LEFT, RIGHT = 0.3, 0.7
NAME = "pneumonia-tiny-phantom"
SETTINGS = (
    "model.architecture=tiny", "model.weights=none", "preprocess.size=32", "train.epochs=10", "train.batch_size=16",
    "train.threads=1", "train.learning_rate=0.003", "train.device=cpu", "train.precision=fp32", "augment.flip=0",
    "data.validation_fraction=0.4", "data.gate_fraction=0.3", "data.patient_fraction=1", f"registry.name={NAME}",
    "evaluation.bootstrap=200", "gate.demo=false", "tracking.system_metrics=false", f"serving.model={NAME}",
    "serving.threads=1", "monitoring.keep_images=true", "monitoring.min_labels=30", "monitoring.window=250",
)  # fmt: skip
POLICY = """
version = 1
device = "Tests of the loop."
[modifications]
architectures = ["tiny"]
classes = ["NORMAL", "PNEUMONIA"]
fewer_patients = false
[modifications.ranges]
"train.epochs" = [1, 100]
[protocol]
promotes = ["better", "not worse"]
reference = ""
openings_per_release = 10
max_shortcut_dependence = 2.0
max_calibration_error = 1.0
[protocol.margins]
auroc = {margin}
sensitivity = {margin}
specificity = {margin}
balanced_accuracy = {margin}
[protocol.minimums]
auroc = 0.5
sensitivity = 0.0
specificity = 0.0
[impact]
benefit = "None."
risk = "None."
mitigation = "None."
"""


def draw(
    seed: int, count: int, *, changed: bool = False, side: float | None = LEFT, share: float = 0.5
) -> tuple[list[bytes], list[int]]:
    """Draw phantoms as PNG files, which say that they are, or as the generator writes them.

    Args:
        seed, count: of the phantoms.
        changed: as another device would make them.
        side: where the opacities lie; a model that has seen one side alone overlooks those of the other. None: the
            opacities of phantoms.
        share: of PNEUMONIA.
    """
    files, labels = [], []
    for at in range(count):
        rng = np.random.default_rng([seed, at])
        label = int(rng.random() < share)
        pixels = dataset.render(label if side is None else 0, rng, SIZE)
        if label and side is not None:
            pixels = _with_opacity(pixels, rng, side)
        files.append((jpeg if side is None else png)(change(pixels, rng) if changed else pixels))
        labels.append(label)
    return files, labels


def _with_opacity(pixels: NDArray[np.uint8], rng: np.random.Generator, side: float) -> NDArray[np.uint8]:
    """Draw an opacity that a tiny network finds at once."""
    row, column = rng.uniform(0.4, 0.7), side + rng.uniform(-0.05, 0.05)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    blob = 110 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * 0.07**2))
    return np.clip(pixels + blob, 0, 255).astype(np.uint8)


def change(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Expose a phantom otherwise, and add noise."""
    dark = 255 * (pixels / 255) ** GAMMA
    return np.clip(dark + rng.normal(0, NOISE, pixels.shape), 0, 255).astype(np.uint8)


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=dataset.QUALITY, comment=PHANTOM_COMMENT)
    return content.getvalue()


def png(pixels: NDArray[np.uint8]) -> bytes:
    said = PngImagePlugin.PngInfo()
    said.add_text("Comment", PHANTOM_COMMENT)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG", pnginfo=said)
    return content.getvalue()


def make_data(root: Path, train: int = 240, test: int = 80) -> Path:
    """Draw the data set that the first champion is trained on."""
    for folder, seed, count in (("train", 101, train), ("test", 102, test)):
        for at, (content, label) in enumerate(zip(*draw(seed, count), strict=True)):
            path = root / folder / CLASSES[label] / f"film-{at}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return root


def settings(work: Path, root: Path, *assignments: str, margin: float = 0.05) -> Config:
    """The configuration of the place; its plan promotes what loses no more than the margin against the champion."""
    plan = work / "plan.toml"
    plan.write_text(POLICY.format(margin=margin), encoding="utf-8")
    named = [*SETTINGS, f"work={work}", f"data.root={root}", f"gate.policy={plan}", *assignments]
    return resolve("fast", assignments=named, environment={})


@dataclass
class Place:
    """A running service, and who reads its answers."""

    service: Service
    client: Any
    follower: Follower

    def stream(self, files: list[bytes], labels: list[int], readers: int = 0) -> list[dict[str, Any]]:
        """Send images, and let readers say of each what it shows."""
        found = []
        for content, label in zip(files, labels, strict=True):
            given = self.client.post("/v1/predict", content=content, headers={"content-type": "image/png"})
            answer = given.json()
            answer = answer["results"][0] if given.status_code == 200 else answer
            found.append(answer)
            for reader in range(readers):
                self.say(answer, label, f"reader {reader}")
        assert self.service.monitoring is not None
        self.service.monitoring.flush()
        return found

    def say(self, answer: dict[str, Any], label: int, reader: str) -> None:
        monitoring = self.service.monitoring
        assert monitoring is not None
        monitoring.flush()
        decision, truth = answer.get("decision"), CLASSES[label]
        verdict = "disagree" if decision is None or decision != truth else "agree"
        feedback.give_feedback(
            monitoring.database,
            answer["event"],
            monitoring.reader_of(reader),
            verdict,
            truth,  # type: ignore[arg-type]
        )

    def accuracy(self, files: list[bytes], labels: list[int]) -> float:
        model: ServedModel = self.service.serving().model
        return float(
            np.mean([model.decision(model.answer(c)) == CLASSES[y] for c, y in zip(files, labels, strict=True)])
        )


@contextlib.contextmanager
def place_of_use(config: Config) -> Iterator[Place]:
    """Serve the champion of a configuration, in this process."""
    metrics = Metrics()
    follower = Follower(open_reader(config), config.serving, metrics)
    follower.look()
    monitoring = Monitoring(config, metrics.monitoring)
    service = Service(config.serving, follower, Pool(1, 16), metrics, Keys(), monitoring)
    with client_of(service) as client:
        yield Place(service, client, follower)
