"""Draw an assessment's plots: decision curve, selective prediction, slices; and how metrics fall under changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pneumonia.records.assessment import Assessment, DecisionPoint, Robustness
from pneumonia.reporting.plots import BLUE, GREY, INK, NOT_A_DEVICE, ORANGE, new_figure, save_figure, style_axes

DECISION, SELECTIVE, SLICES, ROBUSTNESS = "decision_curve.png", "selective.png", "slices.png", "robustness.png"
_LOWEST = 0.05  # share of the highest net benefit that is shown below 0
_LINES = (("auroc", "AUROC", INK, "D"), ("sensitivity", "sensitivity", ORANGE, "s"),
          ("specificity", "specificity", BLUE, "o"))  # fmt: skip


def assessment_plots(folder: Path, found: Assessment, *, phantom: bool = False) -> list[Path]:
    """Draw decision curve, selective prediction and slices as PNG files into a folder; return the files.

    Raises:
        DataError: the folder cannot be written, or the disk is full.
    """
    drawings = {DECISION: _decision(found), SELECTIVE: _selective(found)}
    if found.slices:
        drawings[SLICES] = _slices(found)
    return [save_figure(figure, folder / name, note(phantom)) for name, figure in drawings.items()]


def robustness_plot(folder: Path, found: Robustness, *, phantom: bool = False) -> Path:
    """Draw metrics by change and strength as `ROBUSTNESS` into a folder.

    Raises:
        DataError: the folder cannot be written, or the disk is full.
    """
    return save_figure(_robustness(found), folder / ROBUSTNESS, note(phantom))


def note(phantom: bool) -> str:
    """Return the line that stands on every plot."""
    return f"{'Phantoms (synthetic images) · ' if phantom else ''}{NOT_A_DEVICE}"


def _decision(found: Assessment) -> Figure:
    canvas = new_figure(10, 4.2)
    share = found.positives / found.images
    for axes, points, title in zip(
        canvas.subplots(1, 2),
        (found.decision_curve, found.decision_curve_at_prevalence),
        (f"Net benefit, {share:.1%} PNEUMONIA as here", f"Net benefit at a prevalence of {found.prevalence:.0%}"),
        strict=True,
    ):
        _curve(axes, points, title)
    return canvas


def _curve(axes: Axes, points: Sequence[DecisionPoint], title: str) -> None:
    style_axes(axes, title, "Probability from which one would act", "Net benefit per image")
    at = [point.threshold for point in points]
    axes.plot(at, [point.model for point in points], color=BLUE, linewidth=2, label="as the model says")
    everybody = [point.all_positive for point in points]
    axes.plot(at, everybody, color=GREY, linewidth=1.4, linestyle="--", label="on every image")
    axes.axhline(0, color=INK, linewidth=1, label="on none")
    highest = max(*(point.model for point in points), everybody[0], 1e-3)
    axes.set_ylim(-_LOWEST * highest - 0.005, 1.35 * highest)
    axes.set_xlim(0, 1)
    axes.legend(frameon=False, fontsize=9, loc="upper right")


def _selective(found: Assessment) -> Figure:
    canvas = new_figure(6, 4.2)
    axes = canvas.subplots()
    style_axes(axes, "Errors by the share that is answered", "Share of the images, the most certain", "Share of errors")
    coverage = [point.coverage for point in found.selective]
    low, high = [p.error.low for p in found.selective], [p.error.high for p in found.selective]
    axes.fill_between(coverage, low, high, color=BLUE, alpha=0.18, linewidth=0)
    axes.plot(coverage, [p.error.value for p in found.selective], color=BLUE, marker="o", linewidth=1.8, markersize=4.5)
    axes.text(0.02, 0.98, f"band: {found.confidence:.0%} intervals", transform=axes.transAxes, va="top",
              fontsize=9, color=GREY)  # fmt: skip
    axes.set_xlim(0, 1.02)
    axes.set_ylim(bottom=0)
    return canvas


def _slices(found: Assessment) -> Figure:
    shown = found.slices[::-1]
    canvas = new_figure(10, 1.2 + 0.34 * len(shown))
    panels = canvas.subplots(1, len(_LINES), sharey=True)
    for axes, (metric, label, colour, marker) in zip(panels, _LINES, strict=True):
        style_axes(axes, label, "", "")
        for place, part in enumerate(shown):
            if metric in part.metrics:
                each = part.metrics[metric]
                axes.hlines(place, each.low, each.high, color=colour, linewidth=2.2, alpha=0.5)
                axes.plot([each.value], [place], color=colour, marker=marker, markersize=5)
        axes.axvline(found.metrics[metric].value, color=GREY, linestyle="--", linewidth=1.2)
    panels[0].set_yticks(range(len(shown)), [f"{part.group}: {part.value} ({part.images})" for part in shown])
    panels[0].set_ylim(-0.7, len(shown) - 0.3)
    return canvas


def _robustness(found: Robustness) -> Figure:
    changes = list(dict.fromkeys(row.change for row in found.rows))
    columns = 4
    rows = -(-len(changes) // columns)
    canvas = new_figure(11, 2.9 * rows)
    panels = canvas.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, change in zip(panels, changes, strict=False):
        style_axes(axes, change, "", "")
        chosen = sorted((row for row in found.rows if row.change == change), key=lambda row: row.strength)
        for metric, label, colour, marker in _LINES:
            points = [found.reference[metric], *(row.metrics[metric] for row in chosen)]
            at = [0, *(row.strength for row in chosen)]
            axes.fill_between(
                at, [p.low for p in points], [p.high for p in points], color=colour, alpha=0.12, linewidth=0
            )
            axes.plot(at, [p.value for p in points], color=colour, marker=marker, markersize=4, label=label)
        axes.set_xticks(range(6), ["none", *"12345"])
    for axes in panels[len(changes) :]:
        axes.set_axis_off()
    panels[0].set_ylim(-0.02, 1.02)
    panels[0].legend(frameon=False, fontsize=8, loc="lower left")
    return canvas
