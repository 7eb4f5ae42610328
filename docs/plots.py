"""Draw the plots of docs/validity.md from the committed results: python docs/plots.py"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pneumonia.config.schema import DataConfig
from pneumonia.evaluation.shortcut_ablation import ABLATIONS
from pneumonia.records.cross_validation import CrossValidation
from pneumonia.reporting.cross_validation_report import draw_folds
from pneumonia.reporting.plots import BLUE, GREEN, GREY, INK, NOT_A_DEVICE, ORANGE

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
IMAGES = ROOT / "docs" / "images"


def load(name: str) -> dict[str, Any]:
    """Read a committed result."""
    found: dict[str, Any] = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return found


def save(canvas: Figure, name: str) -> None:
    """Save a plot with the disclaimer."""
    canvas.text(0.995, 0.005, NOT_A_DEVICE, ha="right", va="bottom", fontsize=7, color=GREY)
    canvas.savefig(IMAGES / f"{name}.png", dpi=110)


def features() -> None:
    """Draw how well each shortcut feature alone predicts the class."""
    audits = load("shortcuts.json")
    canvas = Figure(figsize=(10, 4.2), layout="constrained")
    axes = canvas.subplots(1, 2, sharey=True)
    titles = {"originals": "published images", "set": "set reduced to 224 px"}
    for at, (name, title) in zip(axes, titles.items(), strict=True):
        rows = audits[name]["features"]
        for place, row in enumerate(rows):
            for prefix, colour, marker, shift in (("", BLUE, "o", -0.13), ("test ", ORANGE, "s", 0.13)):
                value, low, high = (row[f"{prefix}{key}"] for key in ("auroc", "low", "high"))
                at.plot([low, high], [place + shift] * 2, color=colour, linewidth=2)
                label = ("on the test folder" if prefix else "inside training") if not place else None
                at.plot(value, place + shift, marker, color=colour, markersize=7, label=label)
        at.axvline(0.5, color=GREY, linewidth=1)
        at.axvline(DataConfig().shortcut_auroc, color=INK, linewidth=1, linestyle=":")
        at.set(title=f"{title} ({audits[name]['images']:,} images)", xlabel="AUROC of the class", xlim=(0.15, 1.02))
        at.set_yticks(range(len(rows)), [row["name"] for row in rows])
        at.grid(axis="x", alpha=0.3)
    axes[0].invert_yaxis()
    axes[0].legend(loc="lower left", frameon=False)
    save(canvas, "validity-shortcuts")


def variants() -> None:
    """Draw each variant's AUROC on changed validation images, and its models' shortcut dependence."""
    table = load("ablation_study.json")
    canvas = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = canvas.subplots(1, 2, sharey=True, width_ratios=(1, 1.15))
    names = list(table)
    kinds = (
        ("without_shortcuts", "without shortcut features", BLUE, -0.13),
        ("augmented", "augmented", ORANGE, 0.13),
    )
    for kind, label, colour, shift in kinds:
        for place, name in enumerate(names):
            values = [one[kind]["auroc"] for one in table[name]["runs"]]
            left.plot(
                values,
                [place + shift] * len(values),
                "o",
                color=colour,
                alpha=0.6,
                label=None if place else label,
            )
            left.plot(table[name][kind]["auroc"]["mean"], place + shift, "|", color=INK, markersize=12)
    left.set(title="Validation images", xlabel="AUROC, one point per seed, mean marked")
    left.legend(loc="lower left", frameon=False)
    left.invert_yaxis()
    left.set_yticks(range(len(names)), names)
    left.grid(axis="x", alpha=0.3)
    values = [[table[name]["shortcut_dependence"][feature]["mean"] for feature in ABLATIONS] for name in names]
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
    right.set(title="Shortcut dependence: decrease of the separation")
    right.set_xticks(range(len(ABLATIONS)), list(ABLATIONS))
    save(canvas, "validity-ablation")


def operating_points() -> None:
    """Draw sensitivity and specificity on the official test images, at the stored threshold."""
    table = load("ablation_study.json")
    canvas = Figure(figsize=(6.4, 4.8), layout="constrained")
    at: Axes = canvas.subplots()
    at.add_patch(Rectangle((0.9, 0.95), 0.1, 0.05, color=GREY, alpha=0.2, linewidth=0, label="target"))
    colours = (INK, BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00")
    for (name, row), colour in zip(table.items(), colours, strict=False):
        runs = [one["test"] for one in row["runs"] if "test" in one]
        at.plot(
            [one["specificity"] for one in runs],
            [one["sensitivity"] for one in runs],
            "D" if name == "recipe" else "o",
            color=colour,
            label=name,
        )
    at.set(xlabel="specificity, 234 NORMAL images", ylabel="sensitivity, 390 PNEUMONIA images")
    at.set(title="Official test images, one point per seed", xlim=(0.62, 1.003), ylim=(0.88, 1.001))
    at.grid(alpha=0.3)
    at.legend(loc="lower left", frameon=False)
    save(canvas, "validity-test")


def folds() -> None:
    """Draw the folds of the committed cross-validation as its report does."""
    found = load("cross_validation.json")
    kept = {name: found[name] for name in ("recipe", "data_digest", "folds", "seeds", "metrics", "pooled")}
    fields = ("seed", "fold", "images", "positives", "weights_digest", "metrics")
    results = [{name: row[name] for name in fields} | {"run_id": "", "scores": ""} for row in found["results"]]
    rest = {"phantom": False, "results": results, "run_id": "", "finished_at": "", "config": {}}
    save(draw_folds(CrossValidation.model_validate(kept | rest)), "validity-folds")


if __name__ == "__main__":
    features()
    variants()
    operating_points()
    folds()
