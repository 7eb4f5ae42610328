"""Score images with a model from the registry, from a run or from a file. Not a medical device."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pneumonia.config.schema import CLASSES, Config, RegistryConfig
from pneumonia.credentials import redacted
from pneumonia.errors import ConfigError, DataError, PneumoniaError
from pneumonia.files import expand_home, is_regular_file
from pneumonia.imaging.radiograph import UnreadableRadiograph, read
from pneumonia.modelling.device import Compute
from pneumonia.modelling.network import load_model
from pneumonia.modelling.scoring import BATCH, predict_probabilities
from pneumonia.progress import Progress, silent
from pneumonia.records.model import ModelRecord
from pneumonia.registry import models, moves, verified
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
            return cls._from_file(_file(source), config)
        uri = tracking_uri(config)
        check_store(uri, writing=False)
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
        if not is_regular_file(path):
            raise ConfigError(f"{path}: there is no such file; {SOURCES}")
        network, record = load_model(path)
        return cls(network, record, record.name, f"sha256:{record.weights_digest[:12]}", config)

    @classmethod
    def _from_run(cls, uri: str, run_id: str, config: Config) -> Predictor:
        with verified.fetched_run(uri, run_id) as (path, _):
            network, record = load_model(path)
        _warn_of_withdrawal(uri, record, f"run:{run_id}")
        return cls(network, record, record.name, f"run:{run_id}", config)

    @classmethod
    def _from_registry(cls, uri: str, version: models.Version, config: Config) -> Predictor:
        with verified.fetched(uri, version) as (path, _):
            network, record = load_model(path)
        _warn_of_withdrawal(uri, record, version.uri, version.withdrawn)
        return cls(network, record, version.name, version.version, config)

    def score(
        self,
        files: Sequence[Path | str],
        progress: Progress = silent,
        accept: Callable[[Sequence[dict[str, Any]]], None] | None = None,
    ) -> list[dict[str, Any]]:
        """Score images.

        Args:
            files: JPEG, PNG or DICOM.
            progress: called with the images done and all images; where `accept` is given, first for all that are read.
            accept: called with the refusals once every image is read and before any is scored; it may raise.

        Returns:
            One object per file, in order: ``{file, probability, decision, threshold, model, version}``, with the
            probability of PNEUMONIA, and ``notes`` where the file leaves open how it is to be shown; or ``{file,
            refused, reason}`` for a file that is not a usable image.

        Raises:
            DataError: no space for the images that are read before they are scored.
        """
        if accept is not None:
            return self._read_then_score(files, progress, accept)
        results: list[dict[str, Any]] = []
        for start in range(0, len(files), BATCH):
            results += self._score(files[start : start + BATCH])
            progress(len(results), len(files))
        return results

    def _read_then_score(
        self,
        files: Sequence[Path | str],
        progress: Progress,
        accept: Callable[[Sequence[dict[str, Any]]], None],
    ) -> list[dict[str, Any]]:
        """Read all images into a temporary file, so that none is decoded twice and memory stays as it is."""
        size = self.record.preprocess.size
        results: list[dict[str, Any]] = []
        with tempfile.TemporaryFile(prefix="pneumonia-") as store:
            for done, file in enumerate(files, start=1):
                result, pixels = self._read(file)
                results.append(result)
                if pixels is not None:
                    _append(store, pixels)
                progress(done, len(files), "reading")
            usable = [result for result in results if "refused" not in result]
            accept([result for result in results if "refused" in result])
            store.seek(0)
            scored = 0
            while content := store.read(BATCH * size**2):
                scores = self.probabilities(np.frombuffer(content, np.uint8).reshape(-1, size, size))
                self._add_scores(usable[scored:], scores)
                scored += len(scores)
                progress(scored, len(usable), "scoring")
        return results

    def _score(self, files: Sequence[Path | str]) -> list[dict[str, Any]]:
        read = [self._read(file) for file in files]
        images = [pixels for _, pixels in read if pixels is not None]
        if images:
            self._add_scores(
                [result for result, pixels in read if pixels is not None], self.probabilities(np.stack(images))
            )
        return [result for result, _ in read]

    def _read(self, file: Path | str) -> tuple[dict[str, Any], NDArray[np.uint8] | None]:
        """Return the result so far, and the pixels of an image that is not refused."""
        try:
            image = read(file, self.record.preprocess)
        except UnreadableRadiograph as error:
            return {"file": str(file), "refused": True, "reason": f"{error.reason}; {error.remedy}"}, None
        return {"file": str(file)} | ({"notes": list(image.notes)} if image.notes else {}), image.pixels

    def _add_scores(self, results: Sequence[dict[str, Any]], scores: NDArray[np.float64]) -> None:
        """Complete the results of the first images with their scores."""
        for result, probability in zip(results, scores.tolist(), strict=False):
            result |= {
                "probability": probability,
                "decision": CLASSES[int(probability >= self.record.threshold)],
                "threshold": self.record.threshold,
                "model": self.name,
                "version": self.version,
            }

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Compute the probability of PNEUMONIA of images that were read with the record's preprocessing.

        Args:
            pixels: uint8 [N, size, size].

        Returns:
            float64 [N].
        """
        return predict_probabilities(self.network, pixels, np.arange(len(pixels)), self._compute)


def _warn_of_withdrawal(uri: str, record: ModelRecord, source: str, tag: str = "") -> None:
    """Warn of a model that a rollback has withdrawn, under this or another version number."""
    if words := moves.withdrawal(uri, record) or (tag and f"withdrawn {tag}"):
        logger.warning("%s is a model that was withdrawn, and is not to be used: %s", source, words)


def _append(store: IO[bytes], image: NDArray[np.uint8]) -> None:
    try:
        store.write(image.tobytes())
    except OSError as error:
        raise DataError(
            f"{tempfile.gettempdir()}: the images that were read cannot be kept there ({error.strerror}); free space, "
            "or name another folder in TMPDIR"
        ) from error


def _file(source: str) -> Path:
    try:
        return Path(expand_home(source))
    except ValueError as error:
        raise ConfigError(f"{source}: {error}; {SOURCES}") from None


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
