"""Name a training, and a model that is delivered from it, by digests of all that they depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version

from pneumonia.config.recipe import COMPUTE, train_settings
from pneumonia.config.schema import Config
from pneumonia.modelling.weights import weights_origin
from pneumonia.records.steps import Dataset
from pneumonia.source_digest import source_digest


def training_key(dataset: Dataset, config: Config) -> str:
    """Return the digest of all that a training's weights depend on, sha256 in hex.

    These are the pixels and their split, the initial weights, the recipe, and the code that trains. Not among them are
    the device, precision and threads, which change the last bits and are recorded instead; how the weights are used
    (`model_key`); and everything that only reports.
    """
    return _digest(_recipe(dataset, config) | training_software(config.model.architecture))


def recipe_key(dataset: Dataset, config: Config) -> str:
    """Return the digest of what is trained, sha256 in hex: `training_key` without the software."""
    return _digest(_recipe(dataset, config))


def training_software(architecture: str) -> dict[str, object]:
    """Return the digest of the code that trains, and the versions of the libraries that a training depends on."""
    return {
        "code": training_code(architecture),
        "versions": {name: version(name) for name in ("torch", "torchvision", "numpy")},
    }


def _recipe(dataset: Dataset, config: Config) -> dict[str, object]:
    return {
        "split": dataset.split_digest,
        "pixels": dataset.pixels_digest,
        "architecture": config.model.architecture,
        "weights": weights_origin(config.model.weights),
        "preprocess": config.preprocess.model_dump(mode="json"),
        "augment": config.augment.model_dump(mode="json"),
        "train": train_settings(config.train, COMPUTE),
    }


def training_code(architecture: str) -> str:
    """Return the digest of the code that trains a network of this architecture."""
    return source_digest("pneumonia.modelling.training_loop", f"pneumonia.modelling.architectures.{architecture}")


def model_key(training: str, dataset: Dataset, config: Config) -> str:
    """Return the digest of what a delivered model depends on, sha256 in hex: a training, and how its weights are used.

    Args:
        training: from `training_key`.
        dataset: whose data version the model's record names.
        config: its operating point; where it is calibrated, the configured threshold is not used, otherwise the
            settings of the calibration are not.
    """
    point = config.operating_point
    used: dict[str, object] = {"flip_tta": point.flip_tta}
    if point.calibrate:
        used |= point.model_dump(include={"target_sensitivity", "perturbations"})
        used |= {"code": source_digest("pneumonia.modelling.calibration"), "scipy": version("scipy")}
    else:
        used |= point.model_dump(include={"threshold", "temperature", "bias"})
    return _digest({"training": training, "data": dataset.digest, "name": config.registry.name, "used": used})


def _digest(parts: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
