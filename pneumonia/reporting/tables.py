"""Write Markdown tables of metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pneumonia.records.evaluation import Metric, OutsideMetrics

METRIC_NAMES = {
    "auroc": "AUROC",
    "auprc": "AUPRC (average precision)",
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "precision": "Precision",
    "f1": "F1",
    "balanced_accuracy": "Balanced accuracy",
    "brier": "Brier score, prevalence of these images (lower is better)",
    "ece": "Expected calibration error, prevalence of these images (lower is better)",
    "brier_balanced": "Brier score, both classes weighing the same",
    "ece_balanced": "Expected calibration error, both classes weighing the same",
    "brier_at_prevalence": "Brier score at the stated prevalence",
    "ece_at_prevalence": "Expected calibration error at the stated prevalence",
}
OUTSIDE_METRICS = ("auroc", "sensitivity", "specificity", "balanced_accuracy", "ece_balanced")


def interval(metric: Metric, sign: str = "") -> str:
    """Return a value with its interval; `sign` is of the format specification."""
    form = f"{sign}.3f"
    return f"{metric.value:{form}} ({metric.low:{form}} to {metric.high:{form}})"


def metric_table(head: str, metrics: Mapping[str, Metric], sign: str = "") -> str:
    """Return a table with a row for each metric."""
    form = f"{sign}.3f"
    rows = [
        (METRIC_NAMES.get(name, name), f"{metric.value:{form}}", f"{metric.low:{form}} to {metric.high:{form}}")
        for name, metric in metrics.items()
    ]
    return table((head, "Value", "Interval"), rows, numbers=2)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: int = 0) -> str:
    """Return a Markdown table whose last `numbers` columns are aligned right."""
    ruler = ["---"] * (len(head) - numbers) + ["---:"] * numbers
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in (head, *rows)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (escaped[0], ruler, *escaped[1:]))


def probability_text(probability: float) -> str:
    """Return a probability with four decimals; one that they would show as 0 or 1 in words."""
    if 0 < probability < 0.0001:
        return "below 0.0001"
    return "above 0.9999" if 0.9999 < probability < 1 else f"{probability:.4f}"


def link(name: str) -> str:
    """Return a picture beside the page, by its file's name."""
    return f"![{name.removesuffix('.png').replace('_', ' ')}]({name})"


def outside_table(found: Sequence[OutsideMetrics]) -> str:
    """Return a table with a row for each outside set."""
    head = ("Outside set", "Images", "Patients", *(METRIC_NAMES[name] for name in OUTSIDE_METRICS))
    rows = [
        (
            each.name,
            ", ".join(f"{count} {name}" for name, count in each.counts.items()),
            "by image" if each.patients is None else str(each.patients),
            *(interval(each.metrics[name]) if name in each.metrics else "" for name in OUTSIDE_METRICS),
        )
        for each in found
    ]
    return table(head, rows, numbers=len(OUTSIDE_METRICS))
