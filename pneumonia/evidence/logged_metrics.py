"""Hold every metric that MLflow has of a run against the file that the same number comes from, or a retraining."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pneumonia.evidence.reported_epochs import REPORT, ROUNDED
from pneumonia.records.epoch import Epoch
from pneumonia.records.evaluation import Metric
from pneumonia.records.reproduction import Row, compare, not_recomputed

PART = "MLflow"
PREFIXES = {"release set": "test_", "gate set": "gate_"}
"""Start of the names of the metrics, by the images that the verdict's metrics are of."""
VIEWS = {"as they are": "gate_", "without shortcuts": "gate_without_shortcuts_"}
"""Start of the names of the metrics, by the view of the gate set."""
ENDS = (("", "value"), ("_low", "low"), ("_high", "high"))
OF_THE_MACHINE = ("seconds", "images_per_second", "data_wait")
OF_A_TRAINING = (*(each for each in Epoch.model_fields if each not in OF_THE_MACHINE), "best_epoch")
VALIDATION = ("validation_", "best_epoch_")
"""Start of the names of metrics of the validation images, which no scores are kept of."""
BY_TRAINING = "no file holds it; a retraining does (--retrain)"
NOT_BY_RETRAINING = "the retraining has no such metric"
REASONS = (
    (("system/", *OF_THE_MACHINE), "of the machine while it trained, not of the model"),
    (("outside_",), "of images of another place, whose scores are not kept"),
    (("release_openings",), "the register of openings counts them (pneumonia openings, pneumonia verify)"),
)
UNKNOWN = "no file of the version holds it, and no step of this release is known to write it"


def intervals(prefix: str, metrics: Mapping[str, Metric | Mapping[str, Any]]) -> dict[str, float]:
    """Return the values and ends of metrics by the names that MLflow has them under."""
    dumped = ((name, each.model_dump() if isinstance(each, Metric) else each) for name, each in metrics.items())
    return {f"{prefix}{name}{end}": each[field] for name, each in dumped for end, field in ENDS}


def in_documents(
    verdict: Mapping[str, Any],
    dependence: Mapping[str, Any],
    agreement: Mapping[str, float],
    calibration: Mapping[str, float],
) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield each file of a version that repeats metrics of MLflow, and those metrics by their names there.

    Args:
        verdict: of `report/verdict.json`.
        dependence: of `report/dependence.json`.
        agreement: of the graphs, in `export/export.json`.
        calibration: of the record, in the weights.
    """
    views = verdict.get("gate_metrics") or {}
    for view, prefix in VIEWS.items():
        yield "report/verdict.json", intervals(prefix, views.get(view, {}))
    falls = {name: each["separation"] for name, each in dependence.items()}
    yield "report/dependence.json", intervals("shortcut_dependence_", falls)
    yield "export/export.json", {f"export_{name}": float(value) for name, value in agreement.items()}
    yield "the record", {f"calibration_{name}": value for name, value in calibration.items()}


def compare_logged(
    logged: Mapping[str, float], recomputed: Mapping[str, float], documents: Iterable[tuple[str, Mapping[str, float]]]
) -> list[Row]:
    """Return one row for each metric of a run that no retraining is needed for, and one for each that it lacks.

    Args:
        logged: metrics of the run, each with its last value.
        recomputed: from the stored scores, by MLflow's names.
        documents: of `in_documents`; what was recomputed comes before.
    """
    rows = [compare(PART, name, logged.get(name), value, "") for name, value in recomputed.items()]
    known = dict(recomputed)
    for file, metrics in documents:
        new = {name: value for name, value in metrics.items() if name not in known}
        rows += [compare(PART, name, logged.get(name), value, f"as in {file}") for name, value in new.items()]
        known |= new
    rest = {name: value for name, value in logged.items() if name not in known and not of_a_training(name)}
    return [*rows, *(not_recomputed(PART, name, value, _reason(name)) for name, value in sorted(rest.items()))]


def compare_trained(
    logged: Mapping[str, float], retrained: Mapping[str, float] | None, reported: Mapping[str, float]
) -> list[Row]:
    """Return one row for each metric that the training logged: of its epochs, and of the validation images.

    Args:
        logged: metrics of the run.
        retrained: those of the retraining; None where there was none.
        reported: of `reported_epochs`, which are compared where there was none.
    """
    before = {name: value for name, value in sorted(logged.items()) if of_a_training(name)}
    if retrained is None:
        return [_reported(name, before.get(name), reported.get(name)) for name in {**before, **reported}]
    now = {name: value for name, value in sorted(retrained.items()) if of_a_training(name)}
    return [
        compare(PART, name, before.get(name), now[name], "by the retraining")
        if name in now
        else not_recomputed(PART, name, before[name], NOT_BY_RETRAINING)
        for name in {**before, **now}
    ]


def _reported(name: str, logged: float | None, reported: float | None) -> Row:
    """Return the row of a metric that the report may show, with four decimals."""
    if reported is None:
        return not_recomputed(PART, name, logged, BY_TRAINING)
    row = compare(PART, name, logged, reported, f"as in {REPORT}, which shows four decimals")
    near = row.difference is not None and abs(row.difference) <= ROUNDED
    return row.model_copy(update={"verdict": "equal"}) if near else row


def of_a_training(name: str) -> bool:
    """Return whether a metric is logged by the training and is the same for the same training."""
    return name in OF_A_TRAINING or name.startswith(VALIDATION)


def _reason(name: str) -> str:
    return next((why for starts, why in REASONS if _starts(name, starts)), UNKNOWN)


def _starts(name: str, starts: Sequence[str]) -> bool:
    return any(name.startswith(start) if start.endswith(("/", "_")) else name == start for start in starts)
