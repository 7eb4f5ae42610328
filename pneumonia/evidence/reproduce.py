"""Reproduce a registered version: its code, its data, every number that it claims, and where wanted its training."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pneumonia.data.manifest import Manifest
from pneumonia.errors import DataError
from pneumonia.evaluation.assessment import ScoredTable, assess
from pneumonia.evidence import logged_metrics, recompute, retraining
from pneumonia.evidence.artifact_names import named_by_artifact
from pneumonia.evidence.checkout import PROJECT, bring_data, worktree
from pneumonia.evidence.machine import describe_here
from pneumonia.evidence.reported_epochs import REPORT, reported_epochs
from pneumonia.progress import Progress, silent
from pneumonia.records.dossier import Environment
from pneumonia.records.model import WEIGHTS_ARTIFACT, ModelRecord, read_record
from pneumonia.records.reproduction import Reproduction, Row, compare
from pneumonia.registry import models, verified
from pneumonia.registry.manifest import COMMIT_TAG
from pneumonia.tracking.artifacts import download_all
from pneumonia.tracking.client import mlflow_client, with_retries

MANIFEST = "data/manifest.csv"


def reproduce_version(
    uri: str,
    version: models.Version,
    *,
    retrain: bool = False,
    data: Path | None = None,
    repository: Path = PROJECT,
    progress: Progress = silent,
) -> Reproduction:
    """Check a version's digests against its commit and its data, and compute every number again.

    Args:
        uri: of the registry.
        version: to be reproduced.
        retrain: train again with the recorded code, and compare the weights and the scores.
        data: folder of the images; by default brought through DVC, and phantoms are drawn again.
        repository: a clone of the project that has the recorded commit.
        progress: called with the share that is done.

    Raises:
        CannotReproduce: code or data cannot be brought here, or the recorded code does not run.
        DataError: a file of the run is missing or damaged.
        TrackingError: the store cannot be reached.
    """
    with tempfile.TemporaryDirectory() as place, named_by_artifact(Path(place)):
        folder = Path(place)
        progress(0.0, 1.0, "fetching the files of the version")
        download_all(uri, version.run_id, folder)
        record = read_record(folder / WEIGHTS_ARTIFACT)
        tags, logged = _run(uri, version.run_id)
        machines = retraining.Machines(_environment(folder), describe_here(record.computed_with, of_the_model=False))
        progress(0.1, 1.0, "computing every number again from the stored scores")
        rows = [*_digests(version, folder, record), *recompute.recompute(folder, record, logged)]
        commit = tags.get(COMMIT_TAG)
        progress(0.3, 1.0, f"checking out {str(commit)[:12]}, and bringing the data")
        again, notes, retrained = _again(folder, record, machines, commit, data, repository, retrain=retrain)
        trained = logged_metrics.compare_trained(logged, retrained, reported_epochs(folder / REPORT))
        rows += [*again, *(retraining.expected(row, notes) for row in trained)]
        notes = [*_unused(record, data), *machines.locks(), *notes]
    passed = all(row.verdict != "differs" for row in rows)
    return Reproduction(version=version.uri, commit=commit, passed=passed, notes=tuple(notes), rows=tuple(rows))


def _again(
    folder: Path,
    record: ModelRecord,
    machines: retraining.Machines,
    commit: str | None,
    data: Path | None,
    repository: Path,
    *,
    retrain: bool,
) -> tuple[list[Row], list[str], dict[str, float] | None]:
    """Run the recorded code on the recorded data, and compare.

    Returns:
        Rows, in what the machines differ, and the metrics that a retraining has logged.
    """
    table = ScoredTable.read(folder / recompute.SCORES)
    measured_on = _measured_on(folder)
    with worktree(commit, repository) as code:
        root = "phantom" if _is_drawn(record) else str(data or "")
        if not root:
            root = str(bring_data(code, record.dvc_md5, record.config["data"]["root"], repository))
        found = retraining.run_again(code, record, root, measured_on, train=retrain)
        rows = retraining.compare_data(record, found)
        if not retrain:
            return rows, [], None
        differences = machines.differences(record.computed_with, found["computed_with"])
        rows += retraining.compare_training(record, found, table, differences)
    metrics = _retrained_metrics(folder, record, table, found["scores"], measured_on)
    rows += [retraining.expected(row, differences) for row in metrics]
    return rows, differences, dict(found["metrics"])


def _is_drawn(record: ModelRecord) -> bool:
    return bool(record.phantom and record.config["data"]["root"] == "phantom")


def _unused(record: ModelRecord, data: Path | None) -> list[str]:
    """Return, in a sentence, that a folder was named in vain."""
    return [f"--data {data} is not used: the phantoms are drawn again"] if data and _is_drawn(record) else []


def _retrained_metrics(
    folder: Path, record: ModelRecord, table: ScoredTable, scores: Mapping[str, float], measured_on: str
) -> list[Row]:
    """Compare the metrics of the retrained model with the version's, as the stored scores give them."""
    if any(image.path not in scores for image in table.images):
        return []  # the number of images is a row of its own
    retrained = table.with_probabilities([scores[image.path] for image in table.images])
    settings = recompute.settings(folder, record)
    pairs = [assess(each, settings, measured_on).metrics for each in (table, retrained)]
    names = [name for name in pairs[0] if name in pairs[1]]
    return [
        compare(
            retraining.RETRAINED, f"metrics.{name}.{end}", getattr(pairs[0][name], end), getattr(pairs[1][name], end)
        )
        for name in names
        for end in ("value", "low", "high")
    ]


def _digests(version: models.Version, folder: Path, record: ModelRecord) -> list[Row]:
    """Compare the digests that the registry and the record claim with those of the files."""
    part, weights = "registry", verified.weights_digest(folder / WEIGHTS_ARTIFACT)
    rows = [
        compare(part, "weights_digest", version.weights_digest, weights),
        compare("record", "weights_digest", record.weights_digest, weights),
        compare(part, "model_digest", version.model_digest or None, record.model_digest()),
    ]
    if (folder / MANIFEST).is_file():
        found = Manifest.load(folder / MANIFEST)
        rows += [
            compare(MANIFEST, "data_digest", record.data_digest, found.digest),
            compare(MANIFEST, "split_digest", record.split_digest, found.split_digest),
        ]
    return rows


def _run(uri: str, run_id: str) -> tuple[dict[str, str], dict[str, float]]:
    client = mlflow_client(uri)
    found = with_retries(uri, f"find run {run_id}", lambda: client.get_run(run_id).data)
    return dict(found.tags), dict(found.metrics)


def _measured_on(folder: Path) -> str:
    return str(json.loads((folder / recompute.VERDICT).read_text(encoding="utf-8")).get("measured_on", ""))


def _environment(folder: Path) -> Environment | None:
    """Return the machine that the version's dossier says it was made on; None where there is no dossier."""
    path = folder / recompute.DOSSIER
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get("environment")
        environment = found and Environment.model_validate(found)
    except (ValueError, AttributeError):
        raise DataError(f"{path.name}: is damaged; restore the run's artifacts from a backup") from None
    return environment if environment and environment.of == "the model's making" else None
