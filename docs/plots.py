"""The plots of docs/validity.md from the committed results: python docs/plots.py"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pneumonia.config.schema import DataConfig
from pneumonia.evaluation.shortcut_ablation import ABLATIONS
from pneumonia.reporting.plots import BLUE, GREEN, GREY, INK, NOT_A_DEVICE, ORANGE

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
IMAGES = ROOT / "docs" / "images"


def load(name: str) -> dict[str, Any]:
    """A committed result."""
    found: dict[str, Any] = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return found


def save(canvas: Figure, name: str) -> None:
    canvas.text(0.995, 0.005, NOT_A_DEVICE, ha="right", va="bottom", fontsize=7, color=GREY)
    canvas.savefig(IMAGES / f"{name}.png", dpi=110)


def cues() -> None:
    """How well each cue alone tells the class."""
    audits = load("shortcuts.json")
    canvas = Figure(figsize=(10, 4.2), layout="constrained")
    axes = canvas.subplots(1, 2, sharey=True)
    titles = {"originals": "the films as published", "set": "the same set reduced to 224 px"}
    for at, (name, title) in zip(axes, titles.items(), strict=True):
        rows = audits[name]["cues"]
        for place, row in enumerate(rows):
            for prefix, colour, marker, shift in (("", BLUE, "o", -0.13), ("test ", ORANGE, "s", 0.13)):
                value, low, high = (row[f"{prefix}{key}"] for key in ("auroc", "low", "high"))
                at.plot([low, high], [place + shift] * 2, color=colour, linewidth=2)
                label = ("on the test folder" if prefix else "inside training") if not place else None
                at.plot(value, place + shift, marker, color=colour, markersize=7, label=label)
        at.axvline(0.5, color=GREY, linewidth=1)
        at.axvline(DataConfig().shortcut_auroc, color=INK, linewidth=1, linestyle=":")
        at.set(title=f"{title} ({audits[name]['films']:,} films)", xlabel="AUROC of the class", xlim=(0.15, 1.02))
        at.set_yticks(range(len(rows)), [row["name"] for row in rows])
        at.grid(axis="x", alpha=0.3)
    axes[0].invert_yaxis()
    axes[0].legend(loc="lower left", frameon=False)
    save(canvas, "validity-cues")


def pieces() -> None:
    """What each piece gives on changed validation films, and what a model without it leans on."""
    table = load("recipe.json")
    canvas = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = canvas.subplots(1, 2, sharey=True, width_ratios=(1, 1.15))
    names = list(table)
    kinds = (("stripped", "every cue taken out", BLUE, -0.13), ("judged", "changed at random", ORANGE, 0.13))
    for kind, label, colour, shift in kinds:
        for place, name in enumerate(names):
            values = [cell[kind]["auroc"] for cell in table[name]["cells"]]
            left.plot(
                values,
                [place + shift] * len(values),
                "o",
                color=colour,
                alpha=0.6,
                label=None if place else label,
            )
            left.plot(table[name][kind]["auroc"]["mean"], place + shift, "|", color=INK, markersize=12)
    left.set(title="Validation films", xlabel="AUROC, a point a seed, mean marked")
    left.legend(loc="lower left", frameon=False)
    left.invert_yaxis()
    left.set_yticks(range(len(names)), names)
    left.grid(axis="x", alpha=0.3)
    values = [[table[name]["reliance"][cue]["mean"] for cue in ABLATIONS] for name in names]
    right.imshow(values, cmap="OrRd", vmin=0, vmax=0.4, aspect="auto")
    for place, row in enumerate(values):
        for at, value in enumerate(row):
            right.text(
                at,
                place,
                f"{round(value, 2) + 0.0:.2f}",
                ha="center",
                va="center",
                color="white" if value > 0.25 else INK,
            )
    right.set(title="fall of the separation without each cue")
    right.set_xticks(range(len(ABLATIONS)), list(ABLATIONS))
    save(canvas, "validity-pieces")


def operating_points() -> None:
    """Sensitivity and specificity on the official test films, at the threshold that was stored before."""
    table = load("recipe.json")
    canvas = Figure(figsize=(6.4, 4.8), layout="constrained")
    at: Axes = canvas.subplots()
    at.add_patch(Rectangle((0.9, 0.95), 0.1, 0.05, color=GREY, alpha=0.2, linewidth=0, label="aim"))
    colours = (INK, BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00")
    for (name, row), colour in zip(table.items(), colours, strict=False):
        cells = [cell["test"] for cell in row["cells"] if "test" in cell]
        at.plot(
            [cell["specificity"] for cell in cells],
            [cell["sensitivity"] for cell in cells],
            "D" if name == "recipe" else "o",
            color=colour,
            label=name,
        )
    at.set(xlabel="specificity, 234 NORMAL films", ylabel="sensitivity, 390 PNEUMONIA films")
    at.set(title="Official test films, a point a seed", xlim=(0.62, 1.003), ylim=(0.88, 1.001))
    at.grid(alpha=0.3)
    at.legend(loc="lower left", frameon=False)
    save(canvas, "validity-test")


if __name__ == "__main__":
    cues()
    pieces()
    operating_points()
