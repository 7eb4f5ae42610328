"""Step of a cross-validation: score the fold that was held out with the model of the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pneumonia.config.schema import Config
from pneumonia.data import packing
from pneumonia.data.images import Images
from pneumonia.data.manifest import Manifest
from pneumonia.data.split import held_out_rows
from pneumonia.errors import ConfigError
from pneumonia.evaluation.cross_validation import HeldOut, fold_metrics, write_scores
from pneumonia.evaluation.scored_model import Model
from pneumonia.files import locked_folder, write_text
from pneumonia.modelling.device import Compute
from pneumonia.progress import Progress, silent
from pneumonia.records.base import Document
from pneumonia.records.cross_validation import FoldResult
from pneumonia.records.steps import Dataset, TrainedModel
from pneumonia.timing import reports_time
from pneumonia.tracking.client import run_exists
from pneumonia.tracking.cross_validation import ARTIFACTS
from pneumonia.tracking.run import Run

SCORES, RESULT = "scores.csv", "fold.json"


@reports_time
def score_fold(dataset: Dataset, trained: TrainedModel, config: Config, progress: Progress = silent) -> FoldResult:
    """Score the images of the held-out fold in float32, and log the scores and their metrics with the fold's run.

    A fold that is scored already, with the same settings of `[evaluation]`, is reused.

    Raises:
        ConfigError: no fold is held out.
        DataError: the weights or the images cannot be used.
        TrackingError: the tracking server cannot be used.
    """
    if not config.data.folds:
        raise ConfigError("data.folds=0: no fold is held out; run a cross-validation with flows/cross_validation.py")
    folder = Path(trained.weights).parent / "held_out"
    with locked_folder(folder):
        if (done := _finished(folder / RESULT, trained, config)) is not None:
            progress(1.0, 1.0, f"reusing the scores of fold {_words(config)}")
            return done
        rows = _score(dataset, trained, config)
        result = FoldResult(
            seed=config.train.seed,
            fold=config.data.fold,
            run_id=trained.run_id,
            weights_digest=trained.weights_digest,
            images=len(rows),
            positives=sum(row.label for row in rows),
            scores=str(write_scores(folder / SCORES, rows)),
            metrics=fold_metrics(rows, config.evaluation),
        )
        _log(trained, result)
        saved = _Saved(evaluation=config.evaluation.model_dump_json(), result=result)
        write_text(folder / RESULT, saved.model_dump_json(indent=2))
    progress(1.0, 1.0, f"fold {_words(config)}: {len(rows)} images, AUROC {result.metrics['auroc'].value:.3f}")
    return result


class _Saved(Document):
    """The step's result with the settings that it was made with."""

    evaluation: str
    result: FoldResult


def _words(config: Config) -> str:
    return f"{config.data.fold + 1} of {config.data.folds}, seed {config.train.seed}"


def _finished(path: Path, trained: TrainedModel, config: Config) -> FoldResult | None:
    """Return the result of an earlier call for the same model and the same evaluation, if its run is there."""
    if not path.exists():
        return None
    saved = _Saved.model_validate_json(path.read_text(encoding="utf-8"))
    result = saved.result
    same = (result.run_id, result.weights_digest) == (trained.run_id, trained.weights_digest)
    same = same and saved.evaluation == config.evaluation.model_dump_json() and Path(result.scores).exists()
    return result if same and run_exists(trained.tracking_uri, trained.run_id) else None


def _score(dataset: Dataset, trained: TrainedModel, config: Config) -> list[HeldOut]:
    manifest = Manifest.load(Path(dataset.manifest))
    rows, groups = held_out_rows(manifest.entries, config.data), manifest.groups
    entries = [manifest.entries[row] for row in rows]
    images = Images(
        packing.open_pixels(Path(dataset.pixels)),
        rows,
        manifest.labels[rows],
        [groups[row] for row in rows],
        [entry.pixels_sha256 for entry in entries],
    )
    model = Model.load(Path(trained.weights), Compute.of(config.train, precision="fp32"))
    scored = model.score(images)
    probabilities = np.asarray(scored.probabilities, dtype=np.float64).tolist()
    return [
        HeldOut(
            seed=config.train.seed,
            fold=config.data.fold,
            path=entry.path,
            sha256=entry.sha256,
            patient=patient,
            label=entry.label,
            probability=probability,
            threshold=scored.threshold,
            copy=copy,
        )
        for entry, patient, probability, copy in zip(
            entries, images.patients, probabilities, images.copies.tolist(), strict=True
        )
    ]


def _log(trained: TrainedModel, result: FoldResult) -> None:
    run = Run.attach(trained.tracking_uri, trained.run_id)
    try:
        run.log_intervals(result.metrics, "held_out_")
        run.log_file(Path(result.scores), ARTIFACTS)
    finally:
        run.release()
