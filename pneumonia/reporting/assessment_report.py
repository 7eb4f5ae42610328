"""Write the tables of an assessment, as Markdown sections. Not a medical device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pneumonia.files import write_text
from pneumonia.records.assessment import Assessment, Case, Robustness, RobustnessRow
from pneumonia.records.evaluation import Metric
from pneumonia.reporting.assessment_plots import DECISION, ROBUSTNESS, SELECTIVE, SLICES
from pneumonia.reporting.plots import NOT_A_DEVICE
from pneumonia.reporting.tables import METRIC_NAMES, interval, link, metric_table, probability_text, table

SLICE_METRICS = ("auroc", "sensitivity", "specificity")
LISTED_ERRORS = 10
NAMES = METRIC_NAMES | {
    "likelihood_ratio_positive": "Likelihood ratio of the answer PNEUMONIA",
    "likelihood_ratio_negative": "Likelihood ratio of the answer NORMAL",
}
PAGE = "report.md"


def assessment_sections(found: Assessment, pictures: Sequence[str] = ()) -> list[str]:
    """Return the sections of a report that an assessment adds; `pictures` are the names of files beside the page."""
    return [
        "## What an answer is worth",
        *_worth(found),
        *_picture(DECISION, pictures),
        "## Answers without a reader",
        *_selective(found),
        *_picture(SELECTIVE, pictures),
        *(("## Slices", _slices(found), *_picture(SLICES, pictures)) if found.slices else ()),
        "## Worst errors",
        _errors(found, pictures),
    ]


def write_evaluation(
    folder: Path, found: Assessment, model: str, pictures: Sequence[Path], robustness: Robustness | None = None
) -> Path:
    """Write the page of an evaluation into a folder, and return its path.

    Args:
        folder: where the pictures lie.
        found: the assessment.
        model: name and version.
        pictures: plots and sheet; those that no section shows follow the metrics.
        robustness: of the model, where it was measured.

    Raises:
        DataError: the folder cannot be written.
    """
    names = [picture.name for picture in pictures]
    sections = assessment_sections(found, names)
    if robustness is not None:
        sections += robustness_section(robustness, ROBUSTNESS if ROBUSTNESS in names else "")
    counts = f"{found.positives} PNEUMONIA, {found.negatives} NORMAL"
    patients = "patients not known" if found.patients is None else f"{found.patients} patients"
    parts = [
        f"# {model} on {found.measured_on}",
        f"> **{NOT_A_DEVICE}.** For research and engineering; no diagnosis may rest on it.",
        f"{found.images} images ({counts}), {patients}; PNEUMONIA from {found.threshold:g} on. Intervals: "
        f"{found.confidence:.0%}, percentile bootstrap by patient.",
        metric_table("Metric", {NAMES.get(name, name): metric for name, metric in found.metrics.items()}),
        *(link(name) for name in names if not any(f"({name})" in section for section in sections)),
        *sections,
    ]
    return write_text(folder / PAGE, "\n\n".join(parts) + "\n")


def robustness_section(found: Robustness, picture: str = "") -> list[str]:
    """Return the section about changed images; `picture` is the name of the plot beside the page."""
    text = (
        f"{found.images} images ({found.positives} PNEUMONIA), changed before the preprocessing and scored again by "
        f"the served graph, at threshold {found.threshold:g}. The first row is of the same images without a change."
    )
    rows = [_robustness_row("none", "", "", found.reference), *map(_changed_row, found.rows)]
    head = ("Change", "Strength", "Amount", *(NAMES[name] for name in SLICE_METRICS))
    return ["## Robustness", text, table(head, rows, numbers=3), *((link(picture),) if picture else ())]


def _changed_row(row: RobustnessRow) -> tuple[str, ...]:
    return _robustness_row(row.change, str(row.strength), row.amount, row.metrics)


def _robustness_row(change: str, strength: str, amount: str, metrics: dict[str, Metric]) -> tuple[str, ...]:
    return (change, strength, amount, *(interval(metrics[name]) for name in SLICE_METRICS))


def _worth(found: Assessment) -> list[str]:
    rows = [(f"{each.prevalence:.0%}", interval(each.ppv), interval(each.npv)) for each in found.predictive_values]
    head = ("Prevalence", "PNEUMONIA is right (PPV)", "NORMAL is right (NPV)")
    ratios = [f"{NAMES[name]}: {_ratio(found.metrics[name])}." for name in NAMES if name.startswith("likelihood_ratio_")
              and name in found.metrics]  # fmt: skip
    remarks = [f"{NAMES.get(words.split()[0], words.split()[0])} {words.partition(' ')[2]}." for words in found.remarks]
    return [
        f"How often an answer at threshold {found.threshold:g} is right, where PNEUMONIA is as common as the first "
        "column says and the images are like these.",
        table(head, rows, numbers=3),
        " ".join([*ratios, *remarks]),
    ]


def _ratio(metric: Metric) -> str:
    return f"{metric.value:.3g} ({metric.low:.3g} to {metric.high:.3g})"


def _selective(found: Assessment) -> list[str]:
    rows = [(f"{each.coverage:.0%}", str(each.images), interval(each.error)) for each in found.selective]
    negatives = [
        (
            f"{each.below:g}",
            f"{each.images} ({each.share:.0%})",
            str(each.missed),
            "" if each.npv is None else f"{each.npv:.3f}",
            "" if each.npv_low is None else f"{each.npv_low:.3f}",
        )
        for each in found.automatic_negatives
    ]
    return [
        "Errors, if the model answered the images alone of which it is most certain, and a reader saw the rest:",
        table(("Answered", "Images", "Errors"), rows, numbers=3),
        f"If images below a probability were answered NORMAL without a reader; the bound is exact, one-sided "
        f"{found.confidence:.0%}, and holds for independent images at the {found.positives / found.images:.0%} "
        "PNEUMONIA of these:",
        table(("Below", "Images", "Missed", "NPV", "NPV at least"), negatives, numbers=5),
    ]


def _slices(found: Assessment) -> str:
    rows = [
        (
            part.group,
            part.value,
            str(part.images),
            str(part.positives),
            *(interval(part.metrics[name]) if name in part.metrics else "" for name in SLICE_METRICS),
            part.note,
        )
        for part in found.slices
    ]
    names = [NAMES[name] for name in SLICE_METRICS]
    rows = [row[:-1] if not any(each[-1] for each in rows) else row for row in rows]
    head = ["Slice", "Value", "Images", "PNEUMONIA", *names, "Note"][: len(rows[0])]
    return table(head, rows)


def _errors(found: Assessment, pictures: Sequence[str]) -> str:
    if not found.worst_errors:
        return "No image was classified wrongly."
    shown = found.worst_errors[:LISTED_ERRORS]
    head = ("Image", "Label", "Probability")
    sheet = "errors.png"
    more = (
        f"\n\n[{sheet}]({sheet}) shows all of them beside their heat maps, and the most confident right answers."
        if sheet in pictures
        else ""
    )
    count = len(found.worst_errors)
    text = f"The {len(shown)} most confident of the {count} worst errors:"
    return f"{text}\n\n{table(head, [_error(case) for case in shown], numbers=1)}{more}"


def _error(case: Case) -> tuple[str, str, str]:
    return f"`{case.path}`", case.label, probability_text(case.probability)


def _picture(name: str, pictures: Sequence[str]) -> list[str]:
    return [link(name)] if name in pictures else []
