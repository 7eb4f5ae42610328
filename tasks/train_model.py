"""Second step: a network is trained on the packed films, followed by the tracking server, and written down."""

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
from pneumonia.modelling.network import load_model, normalise
from pneumonia.modelling.scoring import score_images
from pneumonia.modelling.training_loop import Fitted, fit
from pneumonia.modelling.training_set import TrainingSet
from pneumonia.modelling.weights import save_weights, state_digest, weights_origin
from pneumonia.progress import Progress, silent
from pneumonia.records.epoch import Epoch
from pneumonia.records.evaluation import Metric
from pneumonia.records.model import ModelRecord, OperatingPoint
from pneumonia.records.steps import Dataset, TrainedModel
from pneumonia.statistics.metrics import compute_metrics
from pneumonia.tracking.client import run_exists, tracking_uri
from pneumonia.tracking.run import Run

FLUSH_SECONDS = 300.0  # how long a finished training waits for a tracking server that is away


def train_model(
    dataset: Dataset,
    config: Config,
    progress: Progress = silent,
    tags: Mapping[str, str] | None = None,
    fresh: bool = False,
) -> TrainedModel:
    """Train, or go on with this training where it was cut off, or hand back what it came to.

    Args:
        dataset: from `prepare_data`.
        config: the resolved configuration.
        progress: called after every step of the optimiser.
        tags: further tags of the MLflow run, such as the orchestrator's own run id.
        fresh: forget an earlier training of the same name and start anew.

    Raises:
        PneumoniaError: the data, the weights, the work folder or the tracking server cannot be used.
        TrainingInterrupted: SIGTERM came; the same call goes on from the checkpoint.
    """
    uri = tracking_uri(config)
    key = training_key(dataset, config)
    folder = Path(config.work) / "training" / key[:16]
    with locked_folder(folder):
        if fresh:
            _forget(folder)
        if (done := _done(folder, uri)) is not None:
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
    """Name a training by all that its weights depend on: sha256 in hex."""
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
    """Name what this step would return: the training, and the store that tracks it."""
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
    run.log_figures(_validated(network, data, record, config), "validation_")
    return _write_down(dataset, config, fitted, network, record, weights, key, run)


def _record(dataset: Dataset, config: Config, fitted: Fitted, point: OperatingPoint | None) -> ModelRecord:
    return ModelRecord(
        name=config.model.name,
        phantom=dataset.kind == "phantom",
        preprocess=config.preprocess,
        threshold=config.evaluate.threshold if point is None else point.threshold,
        calibration=None if point is None else point.model_dump(),
        mirror=config.evaluate.mirror,
        weights_digest=fitted.weights_digest,
        data_digest=dataset.digest,
        split_digest=dataset.split_digest,
        dvc_md5=dataset.dvc_md5,
        config=config.model_dump(mode="json"),
        library_version=pneumonia.__version__,
    )


def _validated(network: nn.Module, data: TrainingSet, record: ModelRecord, config: Config) -> dict[str, Metric]:
    """The figures of the model as it is handed on, at its own threshold, on validation films as they are."""
    scores = score_images(network, data.pixels, data.validation, config.train)
    patients = [data.patients[row] for row in data.validation]
    return compute_metrics(data.labels[data.validation], scores, patients, record.threshold, config.evaluate)


def _write_down(
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
    size = config.preprocess.size
    example = normalise(torch.zeros(2, size, size)).contiguous().numpy()
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


def _done(folder: Path, uri: str) -> TrainedModel | None:
    """Return what this training came to, if it is finished, its weights are there and its run is in this store."""
    path = folder / "trained.json"
    if not path.exists():
        return None
    trained = TrainedModel.model_validate_json(path.read_text(encoding="utf-8"))
    there = Path(trained.weights).exists() and trained.tracking_uri == uri
    return trained if there and run_exists(uri, trained.run_id) else None


def _forget(folder: Path) -> None:
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
