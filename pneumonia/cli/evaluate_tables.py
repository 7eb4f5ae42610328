"""Print what `pneumonia evaluate` has found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pneumonia.cli.common import emit
from pneumonia.files import printable
from pneumonia.records.assessment import Assessment, Robustness
from pneumonia.records.evaluation import Metric

METRIC_NAMES = {
    **{"auroc": "AUROC", "auprc": "AUPRC", "f1": "F1", "ece": "ECE", "brier": "Brier score"},
    **{"ece_balanced": "ECE, balanced", "brier_balanced": "Brier, balanced"},
    **{"ece_at_prevalence": "ECE, prevalence", "brier_at_prevalence": "Brier, prevalence"},
    **{"likelihood_ratio_positive": "LR of PNEUMONIA", "likelihood_ratio_negative": "LR of NORMAL"},
}
CURVE = (5, 10, 20, 30, 50, 70)
"""Threshold probabilities of the decision curve that are printed, percent; --json and --out hold all."""
ERRORS = 10


def print_evaluation(found: dict[str, Any], assessment: Assessment, folder: Path) -> None:
    """Print the metrics and tables of an evaluation."""
    _print_metrics(found, assessment, folder)
    _print_predictive_values(assessment)
    _print_decision_curve(assessment)
    _print_selective(assessment)
    _print_slices(assessment)
    _print_errors(assessment)
    for image in found["refused"]:
        emit(f"left out: {printable(image['file'])}: {image['reason']}")


def print_robustness(found: Robustness) -> None:
    """Print the metrics under every change."""
    emit(f"\nrobustness: {found.images} images, changed before the preprocessing")
    emit(f"{'change':<12} {'amount':<40} {'AUROC':<22} {'sensitivity':<22} specificity")
    emit(f"{'none':<12} {'':<40} {_three(found.reference)}")
    for row in found.rows:
        emit(f"{row.change:<12} {row.amount:<40} {_three(row.metrics)}")


def _patients(found: dict[str, Any]) -> str:
    """Say what the intervals are drawn by."""
    unknown = found["unknown_patients"]
    if not unknown:
        return f" of {found['patients']} patients"
    remedy = "to draw by patient, list them in patients.csv, or --set data.patients=folder where each has a folder"
    if found["patients"] is None:
        return f"; their patients are not known, so that intervals are by image ({remedy})"
    return f" of {found['patients']} patients and {unknown} whose patients are not known, drawn by image ({remedy})"


def _print_metrics(found: dict[str, Any], assessment: Assessment, folder: Path) -> None:
    from pneumonia.data.patients import SOURCES, UNKNOWN

    counts = " + ".join(f"{count} {name}" for name, count in found["counts"].items())
    emit(f"{printable(folder)}: {found['n']} images ({counts}){_patients(found)}")
    by = [f"{n} by {SOURCES[name]}" for name, n in found["patient_sources"].items() if name != UNKNOWN]
    if by:
        emit(f"patients known of images: {', '.join(by)}")
    emit(f"{found['model']} {found['version']}, PNEUMONIA from {found['threshold']:g} on")
    emit(f"\n{'':<18} {'value':>6}   {100 * found['confidence']:g} % interval")
    for name, metric in assessment.metrics.items():
        label = METRIC_NAMES.get(name, name.replace("_", " "))
        emit(f"{label:<18} {metric.value:6.3f}   {metric.low:.3f} to {metric.high:.3f}")
    for words in assessment.remarks:
        emit(f"{words}")


def _print_predictive_values(found: Assessment) -> None:
    emit(f"\n{'prevalence':<12} {'PNEUMONIA is right (PPV)':<26} NORMAL is right (NPV)")
    for each in found.predictive_values:
        emit(f"{f'{each.prevalence:.0%}':<12} {_interval(each.ppv):<26} {_interval(each.npv)}")


def _print_decision_curve(found: Assessment) -> None:
    emit(f"\nnet benefit at a prevalence of {found.prevalence:.0%}, where one would act from a probability on")
    emit(f"{'from':<12} {'as the model says':<26} on every image")
    for point in found.decision_curve_at_prevalence:
        if round(100 * point.threshold) in CURVE:
            emit(f"{f'{point.threshold:.0%}':<12} {point.model:<+26.4f} {point.all_positive:+.4f}")


def _print_selective(found: Assessment) -> None:
    emit(f"\n{'answered':<12} {'images':<8} errors, if the most certain images alone are answered")
    for each in found.selective:
        emit(f"{f'{each.coverage:.0%}':<12} {each.images:<8} {_interval(each.error)}")
    emit(f"\n{'below':<12} {'images':<8} {'missed':<8} {'NPV':<8} at least, if all below are answered NORMAL")
    for cut in found.automatic_negatives:
        npv, low = ("" if value is None else f"{value:.3f}" for value in (cut.npv, cut.npv_low))
        emit(f"{cut.below:<12g} {cut.images:<8} {cut.missed:<8} {npv:<8} {low}")


def _print_slices(found: Assessment) -> None:
    if not found.slices:
        return
    width = max(len(f"{part.group}: {part.value}") for part in found.slices)
    emit(f"\n{'slice':<{width}} {'images':>7} {'AUROC':<22} {'sensitivity':<22} specificity")
    for part in found.slices:
        note = f"   {part.note}" if part.note else ""
        emit(f"{f'{part.group}: {part.value}':<{width}} {part.images:>7} {_three(part.metrics)}{note}")


def _print_errors(found: Assessment) -> None:
    from pneumonia.reporting.tables import probability_text

    emit(f"\nworst errors, {min(ERRORS, len(found.worst_errors))} of {len(found.worst_errors)} listed")
    for case in found.worst_errors[:ERRORS]:
        emit(f"{probability_text(case.probability):<12}  {case.label:<9}  {case.path}")


def _three(metrics: Mapping[str, Metric]) -> str:
    names = ("auroc", "sensitivity", "specificity")
    return " ".join(f"{_interval(metrics[name]) if name in metrics else '':<22}" for name in names).rstrip()


def _interval(metric: Metric) -> str:
    return f"{metric.value:.3f} ({metric.low:.3f} to {metric.high:.3f})"
