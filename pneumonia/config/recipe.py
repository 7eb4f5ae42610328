"""Name a recipe: what a training does to any data, whatever its seed, its fold and its place."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pneumonia.config.schema import Config, TrainConfig

DIVISION = ("patient_fraction", "validation_fraction", "gate_fraction")
"""Settings of `[data]` that say how many patients a model is trained on; the rest says where images are, or reports."""
COMPUTE = frozenset({"device", "precision", "threads", "workers", "checkpoint_seconds"})
"""Settings of `[train]` that change the last bits of a result, which records them, or nothing of it."""


def recipe_digest(config: Config) -> str:
    """Return the digest of a configuration's recipe, sha256 in hex.

    It covers `[preprocess]`, `[augment]`, `[train]`, `[operating_point]`, the network and the shares of the patients.
    A cross-validation and a training of all patients with the same settings have the same recipe. Not in it are the
    images (their digest stands beside it), seeds and folds, and all that only reports, judges or stores. A file of
    initial weights counts by its name, because the file itself need not be at hand.
    """
    return hashlib.sha256(json.dumps(_recipe(config), sort_keys=True).encode()).hexdigest()


def _recipe(config: Config) -> dict[str, Any]:
    return {
        "architecture": config.model.architecture,
        "weights": Path(config.model.weights).name,
        "preprocess": config.preprocess.model_dump(mode="json"),
        "augment": config.augment.model_dump(mode="json"),
        "train": train_settings(config.train, COMPUTE | {"seed"}),
        "operating_point": config.operating_point.model_dump(mode="json"),
        "data": config.data.model_dump(mode="json", include=set(DIVISION)),
    }


def train_settings(train: TrainConfig, without: Collection[str]) -> dict[str, Any]:
    """Return the settings of `[train]` that name a training, apart from some; ``shards`` is named where it is on."""
    off = set() if train.shards else {"shards"}
    return train.model_dump(mode="json", exclude={*without, *off})


def of_fold(config: Config, seed: int, folds: int, fold: int) -> Config:
    """Return the configuration of one fold: the seed is of the training and of the division into folds.

    Raises:
        ValueError: a fold that there is not.
    """
    tree = config.model_dump(mode="json")
    tree["data"] |= {"folds": folds, "fold": fold, "split_seed": seed}
    tree["train"] |= {"seed": seed}
    return Config.model_validate(tree)


def without_folds(config: Config) -> Config:
    """Return the configuration of a training of all patients with the same settings."""
    data = config.data.model_copy(update={"folds": 0, "fold": 0})
    return config.model_copy(update={"data": data})
