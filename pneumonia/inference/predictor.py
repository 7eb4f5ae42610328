"""Score images with a model from the registry, from a run or from a file. Not a medical device."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pneumonia.config.schema import CLASSES, Config, RegistryConfig
from pneumonia.credentials import redacted
from pneumonia.errors import ConfigError, PneumoniaError
from pneumonia.imaging.radiograph import Radiograph, UnreadableRadiograph, read
from pneumonia.modelling.device import Compute
from pneumonia.modelling.network import load_model
from pneumonia.modelling.scoring import BATCH, predict_probabilities
from pneumonia.progress import Progress, silent
from pneumonia.records.model import ModelRecord
from pneumonia.registry import models, verified
from pneumonia.tracking.client import (
    check_store,
    mlflow_client,
    tracking_uri,
    translated_errors,
)

SOURCES = "name a model as models:/NAME@champion, models:/NAME/VERSION, runs:/RUN or a .safetensors file"

logger = logging.getLogger(__name__)


class Predictor:
    """A model with all that is needed to use it as it was evaluated.

    Attributes:
        network: in evaluation mode.
        record: preprocessing, threshold and origin.
        name: registered name, or the record's where the model is not from the registry.
        version: registered version; otherwise ``run:<id>`` or ``sha256:<first 12 digits of the weights' digest>``.
    """

    def __init__(self, network: nn.Module, record: ModelRecord, name: str, version: str, config: Config) -> None:
        self._compute = Compute.of(config.train, precision="fp32")
        self.network = network
        self.record = record
        self.name = name
        self.version = version
        if record.phantom:
            logger.warning("%s %s was trained on phantoms; its scores of real images mean nothing", name, version)

    @classmethod
    def load(cls, source: str | None, config: Config) -> Predictor:
        """Load a model.

        Args:
            source: ``models:/name@alias``, ``models:/name/3``, ``models:/m-…``, ``runs:/id`` or a ``.safetensors``
                file; the champion of ``pneumonia-resnet18`` by default.
            config: names the tracking store, the device and the number of threads.

        Raises:
            ConfigError: `source` is none of these.
            PneumoniaError: there is no such model, or its weights differ from the registered ones.
            TrackingError: the store cannot be used.
        """
        if source is not None and not source.startswith(("models:", "runs:")):
            return cls._from_file(Path(source), config)
        uri = tracking_uri(config)
        check_store(uri)
        if source is None:
            return cls._from_registry(uri, _default(uri), config)
        if match := re.fullmatch(r"runs:/+([^/]+)(/.*)?", source):
            return cls._from_run(uri, match[1], config)
        if match := re.fullmatch(r"models:/+(m-[0-9a-f]{32})", source):
            return cls._from_run(uri, _source_run(uri, match[1]), config)
        if match := re.fullmatch(r"models:/+([^/@]+)[/@]([^/@]+)", source):
            return cls._from_registry(uri, models.get(uri, match[1], match[2]), config)
        raise ConfigError(f"{source}: is not a model's address; {SOURCES}")

    @classmethod
    def _from_file(cls, path: Path, config: Config) -> Predictor:
        if not path.is_file():
            raise ConfigError(f"{path}: there is no such file; {SOURCES}")
        network, record = load_model(path)
        return cls(network, record, record.name, f"sha256:{record.weights_digest[:12]}", config)

    @classmethod
    def _from_run(cls, uri: str, run_id: str, config: Config) -> Predictor:
        with verified.fetched_run(uri, run_id) as (path, _):
            network, record = load_model(path)
        return cls(network, record, record.name, f"run:{run_id}", config)

    @classmethod
    def _from_registry(cls, uri: str, version: models.Version, config: Config) -> Predictor:
        with verified.fetched(uri, version) as (path, _):
            network, record = load_model(path)
        return cls(network, record, version.name, version.version, config)

    def score(self, files: Sequence[Path | str], progress: Progress = silent) -> list[dict[str, Any]]:
        """Score images.

        Args:
            files: JPEG, PNG or DICOM.
            progress: called with the images done and all images.

        Returns:
            One object per file, in order: ``{file, probability, decision, threshold, model, version}``, with the
            probability of PNEUMONIA, and ``notes`` where the file leaves open how it is to be shown; or ``{file,
            refused, reason}`` for a file that is not a usable image.
        """
        results: list[dict[str, Any]] = []
        for start in range(0, len(files), BATCH):
            results += self._score(files[start : start + BATCH])
            progress(len(results), len(files))
        return results

    def _score(self, files: Sequence[Path | str]) -> list[dict[str, Any]]:
        images: list[Radiograph] = []
        refusals: dict[int, dict[str, Any]] = {}
        for position, file in enumerate(files):
            try:
                images.append(read(file, self.record.preprocess))
            except UnreadableRadiograph as error:
                refusals[position] = {"file": str(file), "refused": True, "reason": f"{error.reason}; {error.remedy}"}
        pixels = [image.pixels for image in images]
        scores = iter(zip(images, self.probabilities(np.stack(pixels)) if pixels else (), strict=True))
        return [
            refusals[position] if position in refusals else self._result(str(file), *next(scores))
            for position, file in enumerate(files)
        ]

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Compute the probability of PNEUMONIA of images that were read with the record's preprocessing.

        Args:
            pixels: uint8 [N, size, size].

        Returns:
            float64 [N].
        """
        return predict_probabilities(self.network, pixels, np.arange(len(pixels)), self._compute)

    def _result(self, file: str, image: Radiograph, probability: float) -> dict[str, Any]:
        return {
            "file": file,
            "probability": float(probability),
            "decision": CLASSES[int(probability >= self.record.threshold)],
            "threshold": self.record.threshold,
            "model": self.name,
            "version": self.version,
        } | ({"notes": list(image.notes)} if image.notes else {})


def _default(uri: str) -> models.Version:
    name = RegistryConfig().name
    held = models.champion(uri, name)
    if held is not None:
        return held
    others = models.champions(uri)
    there = ", ".join(f"models:/{other.name}@champion" for other in others)
    raise PneumoniaError(
        f"{redacted(uri)}: there is no champion of {name} yet. "
        + (f"Existing champions: {there}; choose one with --model. " if others else "No other model has one either. ")
        + "To train one: python flows/pipeline.py --profile full --data DIR"
    )


def _source_run(uri: str, model_id: str) -> str:
    with translated_errors(uri, f"find the model {model_id}"):
        run_id = mlflow_client(uri).get_logged_model(model_id).source_run_id
    if not run_id:
        raise PneumoniaError(f"models:/{model_id}: belongs to no run; {SOURCES}")
    return str(run_id)
