"""Write the report of a look at drift: a Markdown page with plots. Not a medical device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from numpy.typing import NDArray

from pneumonia.files import write_text
from pneumonia.records.drift import DriftVerdict
from pneumonia.records.evaluation import Metric
from pneumonia.reporting.plots import (
    BLUE,
    GREEN,
    GREY,
    INK,
    NOT_A_DEVICE,
    ORANGE,
    new_figure,
    save_figure,
    style_axes,
)
from pneumonia.reporting.tables import METRIC_NAMES, interval, table

Probabilities = tuple[NDArray[np.float64], NDArray[np.float64]]
REPORT = "report.md"
MOVED = 10
"""Image statistics that are shown."""
_LINES = {
    "probability": (BLUE, "o"),
    "embedding": (ORANGE, "s"),
    "statistics": (GREEN, "^"),
    "foreign": (INK, "D"),
}
_BINS = 20


def write_drift_report(folder: Path, verdict: DriftVerdict, probabilities: Probabilities | None = None) -> Path:
    """Write the report into a folder, and return the page's path.

    Args:
        folder: created where it is missing.
        verdict: see there.
        probabilities: of PNEUMONIA, of the reference's and of the window's accepted images, for a histogram.

    Raises:
        PneumoniaError: the folder cannot be written, or the disk is full.
    """
    drawings: dict[str, Callable[[], Figure]] = {}
    if verdict.tests:
        drawings["scores.png"] = lambda: _scores(verdict)
    if probabilities is not None and all(map(len, probabilities)):
        drawings["probabilities.png"] = lambda: _histogram(probabilities)
    if verdict.shifts:
        drawings["statistics.png"] = lambda: _statistics(verdict)
    if verdict.estimated:
        drawings["metrics.png"] = lambda: _metrics(verdict)
    note = f"{verdict.name} {verdict.version} · {NOT_A_DEVICE}"
    for name, draw in drawings.items():
        save_figure(draw(), folder / name, note)
    return write_text(folder / REPORT, drift_page(verdict, tuple(drawings)))


def drift_page(verdict: DriftVerdict, drawings: tuple[str, ...] = ()) -> str:
    """Return the page in Markdown, with links to plots beside it."""
    state = f"Alarm: {verdict.kind}" if verdict.alarm else f"No alarm ({verdict.kind})"
    parts = [
        f"# Drift of {verdict.name}, version {verdict.version}",
        f"**{NOT_A_DEVICE}.** {state}. {verdict.advice}",
        f"{verdict.images} images from {verdict.since} to {verdict.until}, {verdict.refused} of them refused. "
        f"Score {verdict.score:.2f}; from 1 on it is an alarm, a level for {verdict.budget:g} false alarms per 10,000 "
        f"images. Looked at {verdict.checked_at}; events {verdict.first_event} to {verdict.last_event}.",
    ]
    if verdict.tests:
        parts += ["## Tests", _tests(verdict)]
    if verdict.estimated:
        parts += ["## What it means for the metrics", *_consequences(verdict)]
    if verdict.shifts:
        parts += [f"## Image statistics of the last {verdict.focus} images that moved most", _shifts(verdict)]
    parts += [f"![{name.removesuffix('.png')}]({name})" for name in drawings]
    return "\n\n".join(parts) + "\n"


def _tests(verdict: DriftVerdict) -> str:
    rows = [(test.name, str(test.images), test.words, f"{test.score:.2f}") for test in verdict.tests]
    return table(("Test", "Last images", "What it found", "Score"), rows, numbers=1)


def _consequences(verdict: DriftVerdict) -> list[str]:
    found = []
    if verdict.prevalence is not None:
        found.append(
            f"Share of PNEUMONIA among the last {verdict.focus} images, estimated from the probabilities: "
            f"{interval(verdict.prevalence)}; the reference's is {verdict.reference_prevalence:.3f}."
        )
    rows = [
        (
            METRIC_NAMES[name],
            interval(metric),
            interval(verdict.expected[name]) if name in verdict.expected else "",
            interval(verdict.measured[name]) if name in verdict.measured else "",
        )
        for name, metric in verdict.estimated.items()
    ]
    head = ("Metric", "Estimated without labels", "As in the reference", f"Measured on {verdict.labels} labels")
    words = (
        "Estimates take the probabilities at their word; after a change of kind acquisition or case mix they may not "
        "be. They are a reason to look, not a measurement."
    )
    return [*found, table(head, rows, numbers=3), words]


def _shifts(verdict: DriftVerdict) -> str:
    rows = [
        (shift.name, *(f"{value:.3g}" for value in (shift.reference_median, shift.window_median)), f"{shift.ks:.3f}",
         f"{shift.score:.2f}")
        for shift in verdict.shifts[:MOVED]
    ]  # fmt: skip
    return table(("Statistic", "Median, reference", "Median, window", "Distance", "Score"), rows, numbers=4)


def _scores(verdict: DriftVerdict) -> Figure:
    canvas = new_figure(7, 4.2)
    axes = canvas.subplots()
    style_axes(axes, "Scores against the alarm level", "Last images", "Score")
    for name, (colour, marker) in _LINES.items():
        points = sorted((test.images, test.score) for test in verdict.tests if test.name == name)
        if points:
            x, y = zip(*points, strict=True)
            axes.plot(x, y, color=colour, marker=marker, linewidth=1.8, markersize=5, label=name)
    axes.axhline(1, color=GREY, linestyle="--", linewidth=1.4)
    sizes = sorted({test.images for test in verdict.tests})
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator([float(size) for size in sizes]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([str(size) for size in sizes])
    axes.set_ylim(0, max(1.2, 1.08 * max(test.score for test in verdict.tests)))
    axes.legend(frameon=False, fontsize=9)
    return canvas


def _histogram(probabilities: Probabilities) -> Figure:
    canvas = new_figure(7, 3.8)
    axes = canvas.subplots()
    style_axes(axes, "Probabilities", "Probability of PNEUMONIA", "Share of images")
    for values, label, colour in zip(probabilities, ("reference", "window"), (GREY, BLUE), strict=True):
        weights = np.full(len(values), 1 / len(values))
        axes.hist(values, bins=_BINS, range=(0, 1), weights=weights, histtype="stepfilled", alpha=0.25, color=colour)
        axes.hist(
            values, bins=_BINS, range=(0, 1), weights=weights, histtype="step", linewidth=1.8, color=colour, label=label
        )
    axes.legend(frameon=False, fontsize=9)
    return canvas


def _statistics(verdict: DriftVerdict) -> Figure:
    shown = verdict.shifts[:MOVED][::-1]
    canvas = new_figure(7, 0.8 + 0.34 * len(shown))
    axes = canvas.subplots()
    style_axes(axes, f"Image statistics of the last {verdict.focus} images", "Score", "")
    colours = [ORANGE if shift.score >= 1 else BLUE for shift in shown]
    axes.barh([shift.name for shift in shown], [shift.score for shift in shown], color=colours)
    axes.axvline(1, color=GREY, linestyle="--", linewidth=1.4)
    axes.grid(visible=False, axis="y")
    return canvas


def _metrics(verdict: DriftVerdict) -> Figure:
    canvas = new_figure(7, 3.8)
    axes = canvas.subplots()
    style_axes(axes, "Metrics estimated without labels", "", "")
    names = list(verdict.estimated)
    kinds = (
        ("as in the reference", verdict.expected, GREY, -0.15),
        ("estimated", verdict.estimated, BLUE, 0.0),
        (f"measured, {verdict.labels} labels", verdict.measured, ORANGE, 0.15),
    )
    for label, metrics, colour, aside in kinds:
        _bars(axes, [(at + aside, metrics[name]) for at, name in enumerate(names) if name in metrics], label, colour)
    axes.set_xticks(range(len(names)), [METRIC_NAMES[name] for name in names])
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.margins(y=0.15)
    axes.legend(frameon=False, fontsize=9, loc="best")
    return canvas


def _bars(axes: Axes, found: list[tuple[float, Metric]], label: str, colour: str) -> None:
    if not found:
        return
    places = [place for place, _ in found]
    metrics = [metric for _, metric in found]
    axes.vlines(places, [m.low for m in metrics], [m.high for m in metrics], color=colour, linewidth=2.2, alpha=0.6)
    axes.plot(places, [m.value for m in metrics], color=colour, marker="o", linestyle="none", label=label)
