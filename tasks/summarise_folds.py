"""Last step of a cross-validation: bring the folds together in one document, one report and one MLflow run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pneumonia
from pneumonia.config.recipe import recipe_digest, without_folds
from pneumonia.config.schema import NOT_OF_A_RUN, Config
from pneumonia.data.manifest import Entry, Manifest
from pneumonia.data.split import folds_of
from pneumonia.errors import DataError
from pneumonia.evaluation.cross_validation import (
    HeldOut,
    check_complete,
    over_folds,
    pooled_metrics,
    read_scores,
    write_scores,
)
from pneumonia.files import locked_folder, write_text
from pneumonia.progress import Progress, silent
from pneumonia.records.cross_validation import CrossValidation, FoldResult
from pneumonia.records.steps import Dataset
from pneumonia.reporting.cross_validation_report import write_report
from pneumonia.timing import reports_time
from pneumonia.tracking.client import run_exists, tracking_uri
from pneumonia.tracking.cross_validation import ARTIFACTS, CROSS_VALIDATION_TAG, DOCUMENT, PARENT_TAG
from pneumonia.tracking.run import DATA_TAG, Run, close_complete_run
from pneumonia.tracking.run_tags import tag_run

LOGGED, SCORES = "logged", "scores.csv"


@reports_time
def summarise_folds(
    datasets: Sequence[Dataset],
    results: Sequence[FoldResult],
    configs: Sequence[Config],
    progress: Progress = silent,
    tags: Mapping[str, str] | None = None,
) -> CrossValidation:
    """Summarise all folds of all seeds, and log them as one run, whose children the folds' runs become.

    Repeated for the same folds, it returns the same document of the same run.

    Args:
        datasets: of each fold, from `prepare_data`.
        results: of each fold, from `score_fold`.
        configs: of each fold, from `plan_folds`; all three in one order.
        progress: called with the share that is done.
        tags: further tags of the MLflow run, such as the orchestrator's own run id.

    Raises:
        DataError: folds of different images, or an image that was not held out once a seed.
        TrackingError: the tracking server cannot be used.
    """
    config, uri = without_folds(configs[0]), tracking_uri(configs[0])
    if len({dataset.digest for dataset in datasets}) != 1:
        raise DataError(
            "the images have changed between the folds; run the same command again, when nothing writes them"
        )
    key = _key(datasets[0].digest, results, config)
    folder = _folder(key, config)
    with locked_folder(folder):
        if (done := _finished(folder / DOCUMENT, uri)) is not None:
            progress(1.0, 1.0, f"reusing the cross-validation {key[:8]} of {done.finished_at}")
            return done
        rows = _checked_scores(datasets[0], results, configs)  # before there is a run
        progress(0.1, 1.0, "computing the metrics")
        tracking = config.tracking.model_copy(update={"system_metrics": False})  # of the summary's few seconds
        quiet = config.model_copy(update={"tracking": tracking})
        run = Run.open(quiet, key, _name(configs[0]), {**_tags(datasets[0], config), **(tags or {})})
        try:
            write_scores(folder / LOGGED / SCORES, rows)
            found = _summarise(rows, datasets[0], results, configs[0], run)
            progress(0.7, 1.0, "writing the report")
            write_report(folder / LOGGED, found, config.evaluation.confidence)
            _log(run, folder / LOGGED, found)
            # last: a call that was killed before begins again, and one that was killed after it closes the run
            write_text(folder / DOCUMENT, found.model_dump_json(indent=2))
        except BaseException:
            run.finish("FAILED")
            raise
        run.finish()
    auroc = found.metrics["auroc"]
    progress(1.0, 1.0, f"AUROC {auroc.mean:.3f} ± {auroc.sd:.3f} over {len(results)} trainings")
    return found


def folder_of(found: CrossValidation, config: Config) -> Path:
    """Return the folder with the report, the scores and the document of a cross-validation."""
    return _folder(_key(found.data_digest, found.results, without_folds(config)), config) / LOGGED


def _folder(key: str, config: Config) -> Path:
    return Path(config.work).resolve() / "cross_validation" / key[:16]


def _key(data_digest: str, results: Sequence[FoldResult], config: Config) -> str:
    """Return the digest of all that the summary depends on: the folds' models, the data and the evaluation."""
    parts = {
        "recipe": recipe_digest(config),
        "data": data_digest,
        "folds": [(one.seed, one.fold, one.run_id, one.weights_digest) for one in results],
        "evaluation": config.evaluation.model_dump(mode="json"),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _finished(path: Path, uri: str) -> CrossValidation | None:
    """Return the document of an earlier call, if the store has its run; close that run."""
    if not path.exists():
        return None
    found = CrossValidation.model_validate_json(path.read_text(encoding="utf-8"))
    if not run_exists(uri, found.run_id):
        return None
    close_complete_run(uri, found.run_id)
    return found


def _checked_scores(dataset: Dataset, results: Sequence[FoldResult], configs: Sequence[Config]) -> list[HeldOut]:
    """Return the scores of all folds, which hold every image that is dealt into folds once a seed."""
    rows = [row for one in results for row in read_scores(Path(one.scores))]
    entries = Manifest.load(Path(dataset.manifest)).entries
    check_complete(rows, {config.train.seed: _pool(entries, config) for config in configs})
    return rows


def _summarise(
    rows: Sequence[HeldOut], dataset: Dataset, results: Sequence[FoldResult], first: Config, run: Run
) -> CrossValidation:
    config, folds = without_folds(first), first.data.folds
    return CrossValidation(
        recipe=recipe_digest(config),
        data_digest=dataset.digest,
        phantom=dataset.kind == "phantom",
        folds=folds,
        seeds=tuple(dict.fromkeys(one.seed for one in results)),
        results=tuple(results),
        metrics=over_folds([one.metrics for one in results], folds, config.evaluation),
        pooled=pooled_metrics(rows, config.evaluation),
        run_id=run.id,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        config=config.model_dump(mode="json", exclude=set(NOT_OF_A_RUN)),
    )


def _pool(entries: Sequence[Entry], config: Config) -> dict[str, str]:
    """Return the sha256 of the images that are dealt into folds, by path."""
    dealt = zip(entries, folds_of(entries, config.data), strict=True)
    return {entry.path: entry.sha256 for entry, fold in dealt if fold is not None}


def _log(run: Run, folder: Path, found: CrossValidation) -> None:
    run.log_parameters(found.config)
    values: dict[str, float] = {}
    for name, each in found.metrics.items():
        values |= {f"folds_{name}": each.mean, f"folds_{name}_sd": each.sd}
        values |= {f"folds_{name}_low": each.low, f"folds_{name}_high": each.high}
    run.log_metrics(values)
    run.log_intervals(found.pooled, "pooled_")
    for one in found.results:
        tag_run(run.uri, one.run_id, {PARENT_TAG: run.id})
    write_text(folder / DOCUMENT, found.model_dump_json(indent=2))
    run.log_folder(folder, ARTIFACTS)


def _name(config: Config) -> str:
    return f"{config.registry.name.removeprefix('pneumonia-')}-{config.profile}-{config.data.folds}-folds"


def _tags(dataset: Dataset, config: Config) -> dict[str, str]:
    tags = {CROSS_VALIDATION_TAG: recipe_digest(config), DATA_TAG: dataset.digest}
    tags |= {"profile": config.profile, "data": dataset.kind}
    if (commit := pneumonia.git_commit()) is not None:
        tags["mlflow.source.git.commit"] = commit
    return tags
