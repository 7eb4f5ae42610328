"""Second step: train a network on the packed images, log it to the tracking server, and save it."""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

import pneumonia
from pneumonia.config.schema import NOT_OF_A_RUN, Config
from pneumonia.data import packing
from pneumonia.data.manifest import Manifest
from pneumonia.errors import TrainingInterrupted, worth_retrying
from pneumonia.files import locked_folder, write_text
from pneumonia.modelling.calibration import apply_calibration, calibrate
from pneumonia.modelling.device import Compute
from pneumonia.modelling.fitted import Fitted
from pneumonia.modelling.identity import model_key, recipe_key, training_key, training_software
from pneumonia.modelling.network import load_model
from pneumonia.modelling.scoring import predict_probabilities
from pneumonia.modelling.training_loop import CHECKPOINT, fit
from pneumonia.modelling.training_set import TrainingSet
from pneumonia.modelling.weights import save_weights, state_digest
from pneumonia.modelling.workers import dismiss_helpers
from pneumonia.progress import ANEW, REUSING, Progress, silent
from pneumonia.records.epoch import Epoch
from pneumonia.records.evaluation import Metric
from pneumonia.records.model import ModelRecord, OperatingPoint
from pneumonia.records.steps import Dataset, TrainedModel
from pneumonia.statistics.metrics import Scored, compute_metrics
from pneumonia.timing import reports_time
from pneumonia.tracking.client import run_exists, tracking_uri
from pneumonia.tracking.cross_validation import FOLD_TAG
from pneumonia.tracking.run import Run, close_complete_run
from pneumonia.tracking.run_tags import tag_run

TRAINING_TAG = "pneumonia.training_key"
COMPUTED_TAG = "pneumonia.computed_with"
BIT_EQUAL_TAG = "pneumonia.bit_equal"
"""Tags with the training's key, what it was computed with, and false where that changed in the middle."""
log = logging.getLogger(__name__)
FLUSH_SECONDS = 300.0  # how long a finished training waits for an unavailable tracking server


@reports_time
def train_model(
    dataset: Dataset,
    config: Config,
    progress: Progress = silent,
    tags: Mapping[str, str] | None = None,
    fresh: bool = False,
) -> TrainedModel:
    """Deliver a trained model: start or resume its training, reuse a finished one, or return the model that is there.

    Args:
        dataset: from `prepare_data`.
        config: the resolved configuration.
        progress: called after every step of the optimiser.
        tags: further tags of the MLflow run, such as the orchestrator's own run id.
        fresh: delete the files of an earlier training with the same key and start again.

    Raises:
        PneumoniaError: the data, the weights, the work folder or the tracking server cannot be used, or the run is
            being written by another process.
        TrainingInterrupted: SIGTERM was received; the same call resumes from the checkpoint.
    """
    try:
        trained = _deliver(dataset, config, progress, tags, fresh)
    except BaseException as error:
        if not worth_retrying(error):  # another try needs the processes that wait for this one
            dismiss_helpers()
        raise
    dismiss_helpers()
    return trained


def _deliver(
    dataset: Dataset, config: Config, progress: Progress, tags: Mapping[str, str] | None, fresh: bool
) -> TrainedModel:
    uri = tracking_uri(config)
    training = training_key(dataset, config)
    key = model_key(training, dataset, config)
    folder = Path(config.work).resolve() / "training" / training[:16]
    with locked_folder(folder):
        if fresh:
            _clear(folder, key)
        if (done := _finished(_model_folder(folder, key), uri)) is not None:
            _report_reuse(progress, f"the finished model {key[:8]}", done.finished_at, done.computed_with)
            if tags:  # of who asks for it now, such as the loop that it answers
                tag_run(uri, done.run_id, tags)
            return done
        _report_anew(progress, folder, dataset, config)
        run = Run.open(config, key, _run_name(config), {**_tags(dataset, config), **(tags or {})})
        try:
            trained = _train(dataset, config, progress, folder, training, key, run)
            # before the run is closed: a process that is killed in between leaves a run that the next one closes
            write_text(_model_folder(folder, key) / "trained.json", trained.model_dump_json(indent=2))
        except TrainingInterrupted:
            run.finish("KILLED")
            raise
        except BaseException:
            run.finish("FAILED")
            raise
        run.finish()
    return trained


def _train(
    dataset: Dataset, config: Config, progress: Progress, folder: Path, training: str, key: str, run: Run
) -> TrainedModel:
    run.log_parameters(config.model_dump(mode="json", exclude=set(NOT_OF_A_RUN)))  # no part of a training
    run.log_dataset(dataset.kind, dataset.digest, dataset.root, {"counts": dataset.counts, "dvc_md5": dataset.dvc_md5})
    data = TrainingSet.of(packing.open_pixels(Path(dataset.pixels)), Manifest.load(Path(dataset.manifest)))
    fitted = _fit(data, config, progress, folder, training, run)
    progress(1.0, 1.0, "finding the operating point")
    point, state = _operating_point(fitted.state, data, config)
    fitted = replace(fitted, state=state, weights_digest=state_digest(state))
    weights = _model_folder(folder, key) / "model.safetensors"
    record = _record(dataset, config, fitted, point, len(set(data.train.patients)))
    save_weights(weights, state, record)
    network, _ = load_model(weights)
    run.flush(FLUSH_SECONDS)
    run.log_intervals(_validation_metrics(network, data, record, config), validation_prefix(config))
    return _log_and_return(dataset, config, fitted, network, record, weights, training, key, run)


def _operating_point(
    state: dict[str, Tensor], data: TrainingSet, config: Config
) -> tuple[OperatingPoint | None, dict[str, Tensor]]:
    """Find the operating point, or take the given one; None where the threshold alone is given."""
    given = config.operating_point
    if given.calibrate:
        return calibrate(state, data, config)
    if (given.temperature, given.bias) == (1.0, 0.0):
        return None, state
    point = OperatingPoint(temperature=given.temperature, bias=given.bias, threshold=given.threshold)
    return point, apply_calibration(state, point)


def _fit(data: TrainingSet, config: Config, progress: Progress, folder: Path, training: str, run: Run) -> Fitted:
    """Train, or take the finished training, and log its epochs and what it was computed with."""
    history: list[Epoch] = []

    def on_epoch(epoch: Epoch) -> None:
        history.append(epoch)
        run.log_epochs([epoch.model_dump() for epoch in history])

    stepped: list[float] = []

    def on_step(done: float, total: float, message: str = "") -> None:
        stepped.append(done)
        steps = math.ceil(len(data.train) / config.train.batch_size)
        last = f", validation AUROC {history[-1].auroc:.3f}" if history else ""
        progress(done, total, message or f"epoch {math.ceil(done / steps)}/{config.train.epochs}{last}")

    fitted = fit(data, config, folder, training, on_epoch, on_step)
    if fitted.resumed and not stepped:
        _report_reuse(progress, f"the finished training {training[:8]}", fitted.finished_at, fitted.computed_with)
    run.set_tags(
        {
            TRAINING_TAG: training,
            COMPUTED_TAG: "; ".join(fitted.computed_with),
            BIT_EQUAL_TAG: str(len(fitted.computed_with) == 1).lower(),
        }
    )
    return fitted


def validation_prefix(config: Config) -> str:
    """Return the prefix of the validation metrics, which says where the operating point was found on these images."""
    return "validation_calibrated_on_" if config.operating_point.calibrate else "validation_"


def _record(
    dataset: Dataset, config: Config, fitted: Fitted, point: OperatingPoint | None, patients: int
) -> ModelRecord:
    return ModelRecord(
        name=config.registry.name,
        phantom=dataset.kind == "phantom",
        architecture=config.model.architecture,
        preprocess=config.preprocess,
        threshold=config.operating_point.threshold if point is None else point.threshold,
        calibration=None if point is None else point.model_dump(exclude_none=True),
        flip_tta=config.operating_point.flip_tta,
        weights_digest=fitted.weights_digest,
        data_digest=dataset.digest,
        split_digest=dataset.split_digest,
        dvc_md5=dataset.dvc_md5,
        config=config.model_dump(mode="json", exclude=set(NOT_OF_A_RUN)),
        library_version=pneumonia.__version__,
        computed_with=fitted.computed_with,
        training_patients=patients,
    )


def _validation_metrics(
    network: nn.Module, data: TrainingSet, record: ModelRecord, config: Config
) -> dict[str, Metric]:
    """Compute the metrics of the saved model, at its own threshold, on unaugmented validation images."""
    images = data.validation
    scores = predict_probabilities(network, images.pixels, images.rows, Compute.of(config.train, precision="fp32"))
    return compute_metrics(
        Scored(images.labels, scores, images.patients, record.threshold, images.copies), config.evaluation
    )


def _log_and_return(
    dataset: Dataset,
    config: Config,
    fitted: Fitted,
    network: nn.Module,
    record: ModelRecord,
    weights: Path,
    training: str,
    key: str,
    run: Run,
) -> TrainedModel:
    accuracy = fitted.history[fitted.best_epoch - 1].val_accuracy
    run.log_metrics({"best_epoch_val_accuracy": accuracy, "best_epoch": fitted.best_epoch})
    run.log_metrics({f"calibration_{name}": value for name, value in (record.calibration or {}).items()})
    run.log_file(weights, "weights")
    run.log_file(Path(dataset.manifest), "data")
    run.log_file(Path(dataset.audit), "data")
    run.log_file(write_text(weights.parent / "config.json", config.model_dump_json(indent=2)))
    uri = ""
    if not config.data.folds:  # a fold's model is registered nowhere
        example = np.zeros((2, config.preprocess.size, config.preprocess.size), np.float32)
        uri = run.log_model(network, example, record.model_dump(mode="json"))
    return TrainedModel(
        key=key,
        training_key=training,
        run_id=run.id,
        tracking_uri=run.uri,
        run_url=run.url,
        weights=str(weights),
        weights_digest=fitted.weights_digest,
        model_uri=uri,
        epochs=tuple(fitted.history),
        best_epoch=fitted.best_epoch,
        best_epoch_val_accuracy=accuracy,
        finished_at=fitted.finished_at,
        computed_with=fitted.computed_with,
    )


def _model_folder(folder: Path, key: str) -> Path:
    return folder / key[:16]


def _finished(folder: Path, uri: str) -> TrainedModel | None:
    """Return the model that is delivered, if its weights exist and its run is in this store; close its run."""
    path = folder / "trained.json"
    if not path.exists():
        return None
    trained = TrainedModel.model_validate_json(path.read_text(encoding="utf-8"))
    there = Path(trained.weights).exists() and trained.tracking_uri == uri
    if not there or not run_exists(uri, trained.run_id):
        return None
    close_complete_run(uri, trained.run_id)
    return trained


def _report_reuse(progress: Progress, what: str, finished_at: str, computed_with: Sequence[str]) -> None:
    line = f"{REUSING} {what} of {finished_at}, computed with {'; then '.join(computed_with)}"
    log.info(line)
    progress(1.0, 1.0, line)


def _report_anew(progress: Progress, folder: Path, dataset: Dataset, config: Config) -> None:
    """Say why a training of the same images and settings is made again: the software is part of its key."""
    note = folder / "recipe.json"
    if note.exists():
        return
    now = {"recipe": recipe_key(dataset, config), **training_software(config.model.architecture)}
    for other in sorted(folder.parent.glob(f"*/{note.name}")):
        then = json.loads(other.read_text(encoding="utf-8"))
        if then["recipe"] == now["recipe"]:
            changed = "the code that trains" if then["code"] != now["code"] else f"a library ({_versions(then, now)})"
            line = f"{ANEW} the same images and settings, because {changed} has changed since {other.parent.name[:8]}"
            log.info(line)
            progress(0.0, 1.0, line)
            break
    write_text(note, json.dumps(now, indent=2))


def _versions(then: dict[str, Any], now: dict[str, Any]) -> str:
    pairs = [(name, before, now["versions"].get(name)) for name, before in then["versions"].items()]
    return ", ".join(f"{name} {before} -> {after}" for name, before, after in pairs if before != after)


def _clear(folder: Path, key: str) -> None:
    """Delete the training, and the model that is asked for; models of other operating points stay."""
    (folder / CHECKPOINT).unlink(missing_ok=True)
    shutil.rmtree(_model_folder(folder, key), ignore_errors=True)


def _run_name(config: Config) -> str:
    fold = f"-fold{config.data.fold + 1}of{config.data.folds}" if config.data.folds else ""
    return f"{config.registry.name.removeprefix('pneumonia-')}-{config.profile}-seed{config.train.seed}{fold}"


def _tags(dataset: Dataset, config: Config) -> dict[str, str]:
    tags = {"profile": config.profile, "data": dataset.kind, "dvc_md5": dataset.dvc_md5 or "none"}
    if config.data.folds:
        tags[FOLD_TAG] = f"seed {config.train.seed}, fold {config.data.fold + 1} of {config.data.folds}"
    if (commit := pneumonia.git_commit()) is not None:
        tags["mlflow.source.git.commit"] = commit
    return tags
