"""Compute every number that a version claims again from its stored scores, and hold both against each other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pneumonia.config.policy import MINIMUMS
from pneumonia.config.schema import EvaluationConfig
from pneumonia.errors import DataError
from pneumonia.evaluation.assessment import ScoredTable, assess
from pneumonia.evidence import logged_metrics
from pneumonia.records.assessment import Assessment
from pneumonia.records.evaluation import Metric
from pneumonia.records.export import EXPORT_FOLDER, EXPORT_RECORD
from pneumonia.records.model import ModelRecord
from pneumonia.records.reproduction import Row, compare, not_recomputed
from pneumonia.statistics.metrics import METRICS

SCORES, VERDICT, ASSESSMENT = "report/scores.csv", "report/verdict.json", "report/assessment.json"
SETTINGS, DOSSIER = "report/evaluation.json", "dossier/dossier.json"
DEPENDENCE, EXPORTED = "report/dependence.json", f"{EXPORT_FOLDER}/{EXPORT_RECORD}"
AS_THEY_ARE = "as they are"
NO_SCORES = "its scores were not kept"


def recompute(folder: Path, record: ModelRecord, logged: Mapping[str, float]) -> list[Row]:
    """Return one row for each number that files and metrics of a version claim.

    Metrics that only a training gives are not among them (`logged_metrics.compare_trained`).

    Args:
        folder: the files of the version's run.
        record: of the model, which holds the settings of the evaluation.
        logged: metrics of the run in MLflow.

    Raises:
        DataError: there are no scores, or a file is damaged.
    """
    table = ScoredTable.read(folder / SCORES)
    verdict = _document(folder / VERDICT)
    measured_on = str(verdict.get("measured_on", ""))
    found = assess(table, settings(folder, record), measured_on)
    metrics = {name: found.metrics[name] for name in METRICS}
    rows = [compare(SCORES, "threshold", record.threshold, table.threshold)]
    rows += _verdict(verdict, metrics)
    rows += _assessment(ASSESSMENT, _document(folder / ASSESSMENT), found)
    if (folder / DOSSIER).is_file():
        rows += _dossier(_document(folder / DOSSIER), verdict, found, metrics)
    prefix = logged_metrics.PREFIXES.get(measured_on, "")
    by_scores = logged_metrics.intervals(prefix, metrics) if prefix else {}
    return [*rows, *logged_metrics.compare_logged(logged, by_scores, _repeated(folder, record, verdict))]


def _repeated(folder: Path, record: ModelRecord, verdict: Mapping[str, Any]) -> list[tuple[str, dict[str, float]]]:
    """Return what the files of a version hold of MLflow's metrics, without the files that it lacks."""
    dependence = _document(folder / DEPENDENCE) if (folder / DEPENDENCE).is_file() else {}
    exported = _document(folder / EXPORTED) if (folder / EXPORTED).is_file() else {}
    try:
        return list(
            logged_metrics.in_documents(verdict, dependence, exported.get("agreement", {}), record.calibration or {})
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise DataError(
            f"{VERDICT}, {DEPENDENCE} or {EXPORTED}: is damaged; restore the run's artifacts from a backup"
        ) from None


def settings(folder: Path, record: ModelRecord) -> EvaluationConfig:
    """Return the settings of the evaluation; those of the training where an earlier release kept no others."""
    kept = folder / SETTINGS
    given = _document(kept) if kept.is_file() else record.config.get("evaluation", {})
    return EvaluationConfig.model_validate(given)


def _document(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise DataError(f"{path.name}: the run holds none ({error.strerror}); validate the model again") from None
    except (ValueError, TypeError):
        raise DataError(f"{path.name}: is damaged; restore the run's artifacts from a backup") from None


def leaves(document: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield every value of a JSON document by its path, such as ``slices.3.metrics.auroc.low``."""
    if isinstance(document, Mapping):
        for key, value in document.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    elif isinstance(document, Sequence) and not isinstance(document, str):
        for at, value in enumerate(document):
            yield from leaves(value, f"{path}.{at}" if path else str(at))
    else:
        yield path, document


def compare_documents(part: str, claimed: object, recomputed: object, below: str = "") -> list[Row]:
    """Compare two JSON documents value by value; what only one of them has differs."""
    before, now = dict(leaves(claimed, below)), dict(leaves(recomputed, below))
    return [compare(part, name, before.get(name), now.get(name)) for name in {**before, **now}]


def _verdict(verdict: Mapping[str, Any], metrics: Mapping[str, Metric], part: str = VERDICT) -> list[Row]:
    """Compare the verdict's metrics, what its criteria were decided on, and the decisions themselves."""
    rows = compare_documents(part, verdict.get("metrics", {}), _dumped(metrics), "metrics")
    end = "value" if verdict.get("policy") is None else "low"
    by_metric = verdict.get("measured_on") == "release set"
    reasons = verdict.get("reasons", ())
    for reason in reasons:
        name, value, limit = str(reason.get("name")), reason.get("value"), reason.get("limit")
        if name in MINIMUMS and by_metric:
            now = getattr(metrics[name], end)
            rows.append(compare(part, f"reasons.{name}.value", value, now))
            rows.append(compare(part, f"reasons.{name}.passed", reason.get("passed"), now >= limit))
        elif value is not None:
            rows.append(not_recomputed(part, f"reasons.{name}.value", value, NO_SCORES))
    rows.append(compare(part, "passed", verdict.get("passed"), all(reason.get("passed") for reason in reasons)))
    views = dict(verdict.get("gate_metrics") or {})
    if not by_metric:
        rows += compare_documents(part, views.pop(AS_THEY_ARE, {}), _dumped(metrics), f"gate_metrics.{AS_THEY_ARE}")
    others = {"gate_metrics": views, "comparisons": verdict.get("comparisons")}
    numbers = ((name, value) for name, value in leaves(others) if isinstance(value, float))
    return [*rows, *(not_recomputed(part, name, value, NO_SCORES) for name, value in numbers)]


def _assessment(part: str, claimed: Mapping[str, Any], found: Assessment) -> list[Row]:
    try:
        Assessment.model_validate(claimed)
    except ValidationError as error:
        raise DataError(f"{part}: is no assessment ({error.error_count()} errors)") from None
    return compare_documents(part, claimed, found.model_dump(mode="json"))


def _dossier(
    dossier: Mapping[str, Any], verdict: Mapping[str, Any], found: Assessment, metrics: Mapping[str, Metric]
) -> list[Row]:
    """Compare what the dossier repeats of verdict and assessment: a row each, or those of the numbers that differ."""
    rows = []
    if isinstance(claimed := dossier.get("verdict"), Mapping):
        given = {row.name: row.claimed for row in _verdict(verdict, metrics)}
        parts = _verdict(claimed, metrics, DOSSIER)
        kept = [  # nothing gives these again, but the verdict's own file says what they were
            compare(DOSSIER, row.name, row.claimed, given[row.name], f"as in {VERDICT}")
            if row.verdict == "not recomputed" and row.name in given
            else row
            for row in parts
        ]
        rows += _in_one("verdict", [row.model_copy(update={"name": f"verdict.{row.name}"}) for row in kept])
    if isinstance(claimed := dossier.get("assessment"), Mapping):
        rows += _in_one("assessment", compare_documents(DOSSIER, claimed, found.model_dump(mode="json"), "assessment"))
    return rows


def _in_one(name: str, rows: Sequence[Row]) -> list[Row]:
    """Return one row for what a document repeats and is equal, before those that are not."""
    equal, others = [row for row in rows if row.verdict == "equal"], [row for row in rows if row.verdict != "equal"]
    note = "one row for what another file holds too"
    whole = compare(DOSSIER, name, f"{len(equal)} values", f"{len(equal)} values", note)
    return [*([whole] if equal else []), *others]


def _dumped(metrics: Mapping[str, Metric]) -> dict[str, Any]:
    return {name: metric.model_dump(mode="json") for name, metric in metrics.items()}
