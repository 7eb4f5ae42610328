"""Trainings that take a second: few small images, told apart by a bright corner."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pneumonia.config.resolve import resolve
from pneumonia.config.schema import Config
from pneumonia.data.images import Images
from pneumonia.modelling.fitted import Fitted
from pneumonia.modelling.training_loop import fit
from pneumonia.modelling.training_set import TrainingSet
from pneumonia.records.epoch import Epoch

RECIPE = (
    "data.root=phantom",
    "model.weights=none",
    "model.architecture=tiny",
    "preprocess.size=32",
    "train.threads=1",
    "train.device=cpu",
    "train.precision=fp32",
    "train.batch_size=16",
    "train.epochs=1",
)
FULL = (
    "train.optimizer=adamw",
    "train.weight_decay=0.05",
    "train.schedule=cosine",
    "train.warmup_epochs=0.5",
    "train.class_weights=true",
    "train.label_smoothing=0.05",
    "train.ema_decay=0.9",
    "augment.scale=0.2",
    "augment.shift=0.1",
    "augment.gamma=0.2",
    "augment.blur=1",
    "augment.noise=0.02",
)
"""Every part of the recipe switched on."""


def config(*assignments: str, profile: str = "fast") -> Config:
    """Return the small training's configuration, changed by ``section.key=value``."""
    return resolve(profile, assignments=[*RECIPE, *assignments], environment={})


def make_images(train: int = 48, validation: int = 16, seed: int = 0, side: int = 32) -> TrainingSet:
    """Draw noise of a side in pixels; a quarter of the images are NORMAL, the others have a bright corner."""
    rng = np.random.default_rng(seed)
    count = train + validation
    labels = (np.arange(count) % 4 > 0).astype(np.int64)
    pixels = rng.integers(40, 120, (count, side, side), dtype=np.uint8)
    pixels[labels == 1, : side * 3 // 8, : side * 3 // 8] += 60
    images = Images(pixels, np.arange(count), labels, [str(row) for row in range(count)])
    return TrainingSet(images.take(np.arange(train)), images.take(np.arange(train, count)))


def metrics(history: list[Epoch]) -> list[dict[str, float]]:
    """Return what the epochs came to, without what the clock says."""
    return [epoch.model_dump(exclude={"images_per_second", "seconds", "data_wait"}) for epoch in history]


def train(folder: Path, images_: TrainingSet | None = None, *assignments: str) -> Fitted:
    """Train in this process."""
    return fit(images_ or make_images(), config(*assignments), folder, "key")
