"""Second step: train a network on the packed images, log it to the tracking server, and save it."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

import pneumonia
from pneumonia.config.schema import Config
from pneumonia.data.manifest import Manifest
from pneumonia.errors import TrainingInterrupted
from pneumonia.files import locked_folder, write_text
from pneumonia.modelling.calibration import calibrate
from pneumonia.modelling.device import Compute
from pneumonia.modelling.network import load_model
from pneumonia.modelling.scoring import predict_probabilities
from pneumonia.modelling.training_loop import Fitted, fit
from pneumonia.modelling.training_set import TrainingSet
from pneumonia.modelling.weights import save_weights, state_digest, weights_origin
from pneumonia.progress import Progress, silent
from pneumonia.records.epoch import Epoch
from pneumonia.records.evaluation import Metric
from pneumonia.records.model import ModelRecord, OperatingPoint
from pneumonia.records.steps import Dataset, TrainedModel
from pneumonia.statistics.metrics import Scored, compute_metrics
from pneumonia.tracking.client import run_exists, tracking_uri
from pneumonia.tracking.run import Run

FLUSH_SECONDS = 300.0  # how long a finished training waits for an unavailable tracking server


def train_model(
    dataset: Dataset,
    config: Config,
    progress: Progress = silent,
    tags: Mapping[str, str] | None = None,
    fresh: bool = False,
) -> TrainedModel:
    """Train a network: start or resume its training, or return the result of a finished one.

    Args:
        dataset: from `prepare_data`.
        config: the resolved configuration.
        progress: called after every step of the optimiser.
        tags: further tags of the MLflow run, such as the orchestrator's own run id.
        fresh: delete the files of an earlier training with the same key and start again.

    Raises:
        PneumoniaError: the data, the weights, the work folder or the tracking server cannot be used.
        TrainingInterrupted: SIGTERM was received; the same call resumes from the checkpoint.
    """
    uri = tracking_uri(config)
    key = training_key(dataset, config)
    folder = Path(config.work).resolve() / "training" / key[:16]
    with locked_folder(folder):
        if fresh:
            _clear(folder)
        if (done := _finished(folder, uri)) is not None:
            return done
        run = Run.open(config, key, _run_name(config), {**_tags(dataset, config), **(tags or {})})
        try:
            trained = _train(dataset, config, progress, folder, key, run)
        except TrainingInterrupted:
            run.finish("KILLED")
            raise
        except BaseException:
            run.finish("FAILED")
            raise
        run.finish()
        write_text(folder / "trained.json", trained.model_dump_json(indent=2))
        (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    return trained


def training_key(dataset: Dataset, config: Config) -> str:
    """Return the digest of all that a training's weights depend on, sha256 in hex."""
    sections = ("preprocess", "augment", "model", "train", "evaluate")
    parts = {
        "split": dataset.split_digest,
        "pixels": dataset.pixels_digest,
        "weights": weights_origin(config.model.weights),
        "library": pneumonia.__version__,
        "torch": str(torch.__version__),
        **{section: getattr(config, section).model_dump(mode="json") for section in sections},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def inputs_digest(dataset: Dataset, config: Config) -> str:
    """Return a digest of this step's inputs: the training, and the store that tracks it."""
    return hashlib.sha256(f"{training_key(dataset, config)} {tracking_uri(config)}".encode()).hexdigest()


def _train(dataset: Dataset, config: Config, progress: Progress, folder: Path, key: str, run: Run) -> TrainedModel:
    run.log_parameters(config.model_dump(mode="json"))
    run.log_dataset(dataset.kind, dataset.digest, dataset.root, {"counts": dataset.counts, "dvc_md5": dataset.dvc_md5})
    data = TrainingSet.of(np.load(dataset.pixels, mmap_mode="r"), Manifest.load(Path(dataset.manifest)))
    history: list[Epoch] = []

    def on_epoch(epoch: Epoch) -> None:
        history.append(epoch)
        run.log_epochs([epoch.model_dump() for epoch in history])

    def on_step(done: float, total: float, message: str = "") -> None:
        steps = math.ceil(len(data.train) / config.train.batch_size)
        last = f", validation AUROC {history[-1].auroc:.3f}" if history else ""
        progress(done, total, message or f"epoch {math.ceil(done / steps)}/{config.train.epochs}{last}")

    fitted = fit(data, config, folder, key, on_epoch, on_step)
    progress(1.0, 1.0, "finding the operating point")
    point, state = calibrate(fitted.state, data, config) if config.evaluate.calibrate else (None, fitted.state)
    fitted = replace(fitted, state=state, weights_digest=state_digest(state))
    weights = folder / "model.safetensors"
    record = _record(dataset, config, fitted, point)
    save_weights(weights, state, record)
    network, _ = load_model(weights)
    run.flush(FLUSH_SECONDS)
    run.log_intervals(_validation_metrics(network, data, record, config), "validation_")
    return _log_and_return(dataset, config, fitted, network, record, weights, key, run)


def _record(dataset: Dataset, config: Config, fitted: Fitted, point: OperatingPoint | None) -> ModelRecord:
    return ModelRecord(
        name=config.model.name,
        phantom=dataset.kind == "phantom",
        architecture=config.model.architecture,
        preprocess=config.preprocess,
        threshold=config.evaluate.threshold if point is None else point.threshold,
        calibration=None if point is None else point.model_dump(),
        flip_tta=config.evaluate.flip_tta,
        weights_digest=fitted.weights_digest,
        data_digest=dataset.digest,
        split_digest=dataset.split_digest,
        dvc_md5=dataset.dvc_md5,
        config=config.model_dump(mode="json"),
        library_version=pneumonia.__version__,
    )


def _validation_metrics(
    network: nn.Module, data: TrainingSet, record: ModelRecord, config: Config
) -> dict[str, Metric]:
    """Compute the metrics of the saved model, at its own threshold, on unaugmented validation images."""
    images = data.validation
    scores = predict_probabilities(network, images.pixels, images.rows, Compute.of(config.train, precision="fp32"))
    return compute_metrics(
        Scored(images.labels, scores, images.patients, record.threshold, images.copies), config.evaluate
    )


def _log_and_return(
    dataset: Dataset,
    config: Config,
    fitted: Fitted,
    network: nn.Module,
    record: ModelRecord,
    weights: Path,
    key: str,
    run: Run,
) -> TrainedModel:
    best_val_accuracy = max(epoch.val_accuracy for epoch in fitted.history)
    run.log_metrics({"best_val_accuracy": best_val_accuracy, "best_epoch": fitted.best_epoch})
    run.log_metrics({f"calibration_{name}": value for name, value in (record.calibration or {}).items()})
    run.log_file(weights, "weights")
    run.log_file(Path(dataset.manifest), "data")
    run.log_file(Path(dataset.audit), "data")
    run.log_file(write_text(weights.parent / "config.json", config.model_dump_json(indent=2)))
    example = np.zeros((2, config.preprocess.size, config.preprocess.size), np.float32)
    uri = run.log_model(network, example, record.model_dump(mode="json"))
    return TrainedModel(
        key=key,
        run_id=run.id,
        tracking_uri=run.uri,
        run_url=run.url,
        weights=str(weights),
        weights_digest=fitted.weights_digest,
        model_uri=uri,
        epochs=tuple(fitted.history),
        best_epoch=fitted.best_epoch,
        best_val_accuracy=best_val_accuracy,
    )


def _finished(folder: Path, uri: str) -> TrainedModel | None:
    """Return the result of this training, if it is finished, its weights exist and its run is in this store."""
    path = folder / "trained.json"
    if not path.exists():
        return None
    trained = TrainedModel.model_validate_json(path.read_text(encoding="utf-8"))
    there = Path(trained.weights).exists() and trained.tracking_uri == uri
    return trained if there and run_exists(uri, trained.run_id) else None


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != "lock":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _run_name(config: Config) -> str:
    return f"{config.model.name.removeprefix('pneumonia-')}-{config.profile}-seed{config.train.seed}"


def _tags(dataset: Dataset, config: Config) -> dict[str, str]:
    tags = {"profile": config.profile, "data": dataset.kind, "dvc_md5": dataset.dvc_md5 or "none"}
    if (commit := pneumonia.git_commit()) is not None:
        tags["mlflow.source.git.commit"] = commit
    return tags
