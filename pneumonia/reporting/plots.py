"""Draw the report's plots, as matplotlib Figure objects on the Agg canvas: no display and no global state."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from pneumonia.config.schema import CLASSES
from pneumonia.files import write_bytes
from pneumonia.records.epoch import Epoch
from pneumonia.records.evaluation import Curves, Metric
from pneumonia.timing import timed

NOT_A_DEVICE = "Not a medical device"
# Okabe and Ito's colours, distinguishable with every common colour-vision deficiency.
BLUE, ORANGE, GREEN, INK, GREY = "#0072B2", "#D55E00", "#009E73", "#222222", "#767676"
CORNER = 0.25  # side of the ROC's enlarged corner
# Learning curves: title, then field of the epoch, label, colour and marker of each line.
PANELS = (
    ("Loss", (("train_loss", "training", BLUE, "o"), ("val_loss", "validation", ORANGE, "s"))),
    ("Accuracy", (("train_accuracy", "training", BLUE, "o"), ("val_accuracy", "validation", ORANGE, "s"))),
    (
        "On validation",
        (
            ("auroc", "AUROC", INK, "D"),
            ("precision", "precision", BLUE, "o"),
            ("recall", "recall", ORANGE, "s"),
            ("f1", "F1", GREEN, "^"),
        ),
    ),
)
# The operating point on a curve.
_POINT: dict[str, Any] = {
    "marker": "o",
    "markersize": 9,
    "color": ORANGE,
    "markeredgecolor": "white",
    "linestyle": "none",
    "clip_on": False,
    "zorder": 5,
}


@timed("plots")
def plots(
    folder: Path,
    history: Sequence[Epoch],
    curves: Curves,
    metrics: Mapping[str, Metric],
    *,
    phantom: bool = False,
    best_epoch: int | None = None,
) -> list[Path]:
    """Draw learning curves, ROC, precision-recall, confusion and reliability as PNG files into `folder`.

    Each file is written atomically; matplotlib's global state is not changed.

    Args:
        folder: created where it is missing.
        history: the epochs so far; without any, the learning curves are left out.
        curves: of the test images.
        metrics: AUROC, AUPRC and ECE are shown in the titles where they are given.
        phantom: note on every plot that the images are synthetic.
        best_epoch: the epoch that is marked, the last one by default.

    Returns:
        The files, in the order above.

    Raises:
        PneumoniaError: the folder cannot be written, or the disk is full.
    """
    note = f"{'Phantoms (synthetic images) · ' if phantom else ''}{NOT_A_DEVICE}"
    drawings: dict[str, Callable[[], Figure]] = {}
    if history:
        drawings["learning_curves.png"] = lambda: _learning_curves(history, best_epoch)
    drawings["roc.png"] = lambda: _roc(curves, metrics)
    drawings["precision_recall.png"] = lambda: _precision_recall(curves, metrics)
    drawings["confusion.png"] = lambda: _confusion(curves)
    drawings["reliability.png"] = lambda: _reliability(curves, metrics)
    return [save_figure(draw(), folder / name, note) for name, draw in drawings.items()]


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure on the Agg canvas; its sides in inches."""
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    canvas = Figure(figsize=(width, height), dpi=150, layout=layout, facecolor="white")
    FigureCanvasAgg(canvas)
    return canvas


def style_axes(axes: Axes, title: str, x: str, y: str) -> None:
    """Title and label axes in the reports' style."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK, pad=10)
    axes.set_xlabel(x, fontsize=11, color=INK)
    axes.set_ylabel(y, fontsize=11, color=INK)
    axes.tick_params(labelsize=10, colors=INK, length=3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.grid(color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)


def save_figure(canvas: Figure, path: Path, note: str) -> Path:
    """Write a figure as PNG, atomically, with a note in its lower right corner."""
    canvas.supxlabel(note, x=0.98, ha="right", fontsize=8, color=GREY)
    image = io.BytesIO()
    canvas.savefig(image, format="png", metadata={"Software": None})  # no version: equal input, equal bytes
    return write_bytes(path, image.getvalue())


def _learning_curves(history: Sequence[Epoch], best_epoch: int | None) -> Figure:
    canvas = new_figure(11, 3.9)
    epochs = [epoch.epoch for epoch in history]
    best = epochs[-1] if best_epoch is None else best_epoch
    for axes, (title, series) in zip(canvas.subplots(1, len(PANELS)), PANELS, strict=True):
        style_axes(axes, title, "Epoch", "")
        for field, label, colour, marker in series:
            values = [getattr(epoch, field) for epoch in history]
            label = f"{label} {values[epochs.index(best)]:.3f}"
            axes.plot(epochs, values, color=colour, marker=marker, markersize=4.5, linewidth=1.8, label=label)
        if len(epochs) > 1:
            axes.axvline(best, color=GREY, linewidth=1.2, linestyle=":", zorder=1)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
        else:  # points in the left third, next to the legend
            axes.set_xticks(epochs)
            axes.set_xlim(best - 0.5, best + 1)
        axes.margins(y=0.12)
        axes.legend(frameon=False, fontsize=9, title=f"At epoch {best}", title_fontsize=9, alignment="left")
    return canvas


def _roc(curves: Curves, metrics: Mapping[str, Metric]) -> Figure:
    canvas = new_figure(5, 5.2)
    axes = canvas.subplots()
    style_axes(axes, f"ROC: AUROC {_interval(metrics.get('auroc'))}", "1 − specificity", "Sensitivity")
    (tn, fp), (fn, tp) = curves.confusion
    x, y = fp / (tn + fp), tp / (fn + tp)
    label = f"threshold {curves.threshold:g}: sensitivity {y:.2f}, specificity {1 - x:.2f}"
    points = curves.false_positive_rate, curves.true_positive_rate
    places = [axes]
    if any(_in_corner(*point) for point in zip(*points, strict=True)):
        places.append(_corner(axes))
    for place in places:
        place.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
        place.plot(*points, color=BLUE, linewidth=2.2)
        if place is axes or _in_corner(x, y):
            place.plot([x], [y], label=label, **_POINT)
    axes.legend(frameon=False, fontsize=9, loc="lower right", handletextpad=0.2)
    return _unit(canvas, axes)


def _in_corner(false_positive_rate: float, true_positive_rate: float) -> bool:
    return false_positive_rate <= CORNER and true_positive_rate >= 1 - CORNER


def _corner(axes: Axes) -> Axes:
    """Add an enlarged view of the upper left corner, where a good classifier's curve lies, in the empty part."""
    corner = axes.inset_axes((0.39, 0.17, 0.57, 0.57), xlim=(-0.005, CORNER), ylim=(1 - CORNER, 1.005))
    corner.tick_params(labelsize=8, colors=INK, length=2)
    corner.grid(color="#e4e4e4", linewidth=0.8)
    corner.spines[:].set_color(GREY)
    axes.indicate_inset(corner.viewLim.bounds, edgecolor=GREY)
    return corner


def _precision_recall(curves: Curves, metrics: Mapping[str, Metric]) -> Figure:
    canvas = new_figure(5, 5.2)
    axes = canvas.subplots()
    style_axes(axes, f"Precision-recall: AUPRC {_interval(metrics.get('auprc'))}", "Recall (sensitivity)", "Precision")
    (tn, fp), (fn, tp) = curves.confusion
    prevalence = (fn + tp) / (tn + fp + fn + tp)
    axes.axhline(prevalence, color=GREY, linewidth=1, linestyle="--")
    axes.text(0.01, prevalence + 0.015, f"no skill: precision {prevalence:.2f}", fontsize=9, color=GREY)
    # Average precision is the area under these steps.
    axes.step(curves.recall, curves.precision, where="pre", color=BLUE, linewidth=2.2)
    if tp + fp:
        x, y = tp / (fn + tp), tp / (tp + fp)
        axes.plot([x], [y], label=f"threshold {curves.threshold:g}: precision {y:.2f}, recall {x:.2f}", **_POINT)
        axes.legend(frameon=False, fontsize=9, loc="lower right", handletextpad=0.2)
    return _unit(canvas, axes)


def _unit(canvas: Figure, axes: Axes) -> Figure:
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_box_aspect(1)
    return canvas


def _confusion(curves: Curves) -> Figure:
    canvas = new_figure(5, 5)
    axes = canvas.subplots()
    shares = [[n / sum(row) for n in row] for row in curves.confusion]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.25)
    style_axes(axes, f"Test images at threshold {curves.threshold:g}", "Classified as", "Truth")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xticks((0, 1), CLASSES)
    axes.set_yticks((0, 1), CLASSES, rotation=90, va="center")
    axes.tick_params(length=0)
    for row, (counts, parts) in enumerate(zip(curves.confusion, shares, strict=True)):
        for column, (n, part) in enumerate(zip(counts, parts, strict=True)):
            colour = "white" if part > 0.6 else INK
            axes.text(column, row - 0.06, f"{n}", ha="center", va="center", fontsize=24, color=colour)
            axes.text(column, row + 0.2, f"{part:.1%} of {CLASSES[row]}", ha="center", fontsize=9.5, color=colour)
    return canvas


def _reliability(curves: Curves, metrics: Mapping[str, Metric]) -> Figure:
    canvas = new_figure(5, 6)
    upper, lower = canvas.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    bins = curves.reliability
    predicted, observed = [b.predicted for b in bins], [b.observed for b in bins]
    style_axes(upper, f"Reliability: ECE {_interval(metrics.get('ece'))}", "", "Share that is PNEUMONIA")
    upper.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    low, high = zip(*(_wilson(b.observed, b.n) for b in bins), strict=True)
    upper.vlines(predicted, low, high, color=BLUE, alpha=0.45, linewidth=2)
    upper.plot(predicted, observed, color=BLUE, marker="o", linewidth=1.8)
    upper.text(0.98, 0.015, "bars: 95% intervals (Wilson)", fontsize=9, color=GREY, ha="right")
    upper.set_ylim(-0.02, 1.02)
    style_axes(lower, "", "Probability of PNEUMONIA", "Images")
    bars = lower.bar([b.low for b in bins], [b.n for b in bins], 0.094, align="edge", color=BLUE)
    lower.bar_label(bars, fontsize=8, color=INK, padding=1)
    lower.margins(y=0.25)
    lower.grid(visible=False, axis="x")
    lower.set_xlim(-0.02, 1.02)
    return canvas


def _wilson(share: float, n: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share of `n` (Wilson, JASA 1927); its width is not 0 at shares of 0 and 1."""
    z = 1.96
    middle, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def _interval(metric: Metric | None) -> str:
    return "" if metric is None else f"{metric.value:.3f} ({metric.low:.3f} to {metric.high:.3f})"
