"""Write the report of a cross-validation: Markdown and a plot of every fold."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pneumonia.files import write_text
from pneumonia.records.cross_validation import CrossValidation
from pneumonia.reporting.plots import (
    BLUE,
    GREY,
    INK,
    NOT_A_DEVICE,
    ORANGE,
    new_figure,
    save_figure,
    style_axes,
)
from pneumonia.reporting.tables import METRIC_NAMES, interval, table

REPORT, PLOT = "report.md", "folds.png"
SHOWN = ("auroc", "sensitivity", "specificity")
METHOD = (
    "The interval of a mean is mean ± t · sd · √(1/n + 1/(k − 1)) with n − 1 degrees of freedom, for n values and k "
    "folds (Nadeau and Bengio, Machine Learning 52, 2003): the models of two folds share most training images, "
    "so that the usual interval would be too narrow. Pooled: the scores of all folds and seeds together, each image "
    "decided at the threshold of its own model, with a bootstrap by patient; the spread between trainings is not in it."
)


def write_report(folder: Path, found: CrossValidation, confidence: float) -> Path:
    """Write `REPORT` and `PLOT` into a folder, atomically; return the report's path.

    Args:
        folder: created where it is missing.
        found: the cross-validation.
        confidence: coverage of the intervals.

    Raises:
        DataError: the folder cannot be written.
    """
    note = f"{'Phantoms (synthetic images) · ' if found.phantom else ''}{NOT_A_DEVICE}"
    save_figure(draw_folds(found), folder / PLOT, note)
    return write_text(folder / REPORT, markdown(found, confidence))


def markdown(found: CrossValidation, confidence: float) -> str:
    """Return the report as Markdown; it refers to `PLOT` in the same folder."""
    kind = "phantoms (synthetic images)" if found.phantom else "radiographs"
    images = sum(one.images for one in found.results if one.seed == found.seeds[0])
    seeds = ", ".join(map(str, found.seeds))
    head = ("Metric", "Mean", "Standard deviation", f"{100 * confidence:g} % interval of the mean", "Pooled")
    rows = [
        (
            METRIC_NAMES[name],
            f"{each.mean:.3f}",
            f"{each.sd:.3f}",
            f"{each.low:.3f} to {each.high:.3f}",
            interval(found.pooled[name]),
        )
        for name, each in found.metrics.items()
    ]
    lines = [
        f"# Cross-validation: {found.folds} folds by patient",
        f"**{NOT_A_DEVICE}.** {images} {kind} outside the gate set and the official test folder, each scored by a "
        f"model that was trained and calibrated on patients of the other folds alone; seeds {seeds}, "
        f"{len(found.results)} trainings, finished {found.finished_at}.",
        table(head, rows, numbers=4),
        METHOD,
        f"![AUROC, sensitivity and specificity of each fold]({PLOT})",
        "Line and band: the mean with its interval. Points: the folds, each with the interval by patient of its own.",
        "## Each fold",
        _folds(found),
        f"Recipe {found.recipe[:12]}, data version {found.data_digest[:12]}. Every number here can be recomputed from "
        "`scores.csv`.",
    ]
    return "\n\n".join(lines) + "\n"


def _folds(found: CrossValidation) -> str:
    head = ("Seed", "Fold", "Images", "Positives", *(METRIC_NAMES[name] for name in SHOWN), "Run")
    rows = [
        (
            f"{one.seed}",
            f"{one.fold + 1} of {found.folds}",
            f"{one.images}",
            f"{one.positives}",
            *(interval(one.metrics[name]) for name in SHOWN),
            f"`{one.run_id}`",
        )
        for one in found.results
    ]
    return table(head, rows)


def draw_folds(found: CrossValidation) -> Figure:
    """Draw AUROC, sensitivity and specificity of each fold with its interval, over the mean with its own."""
    canvas = new_figure(11, 1.6 + 0.28 * len(found.results))
    for axes, name in zip(canvas.subplots(1, len(SHOWN), sharey=True), SHOWN, strict=True):
        _draw(axes, name, found)
    return canvas


def _draw(axes: Axes, name: str, found: CrossValidation) -> None:
    over, places = found.metrics[name], range(len(found.results))
    style_axes(axes, f"{METRIC_NAMES[name]} {over.mean:.3f} ± {over.sd:.3f}", "", "")
    axes.axvspan(over.low, over.high, color=BLUE, alpha=0.12, linewidth=0)
    axes.axvline(over.mean, color=BLUE, linewidth=1.6)
    for place, one in zip(places, found.results, strict=True):
        metric = one.metrics[name]
        axes.plot([metric.low, metric.high], [place, place], color=GREY, linewidth=1.6)
        axes.plot([metric.value], [place], marker="o", color=ORANGE, markeredgecolor="white", markersize=7)
    words = [f"seed {one.seed}, fold {one.fold + 1}" for one in found.results]
    axes.set_yticks(list(places), words, fontsize=9, color=INK)
    axes.set_ylim(len(found.results) - 0.4, -0.6)
    axes.margins(x=0.06)
