"""Find the parts of the images, and the changes of an image, with which a model does worst."""

from __future__ import annotations

from collections.abc import Iterator

from pneumonia.evaluation.robustness import SIDE
from pneumonia.records.assessment import Robustness, RobustnessRow, Slice
from pneumonia.records.dossier import Dossier, Weakness
from pneumonia.records.evaluation import Metric

NAMES = {"auroc": "AUROC", "sensitivity": "sensitivity", "specificity": "specificity"}
NAMED = 3
"""Slices and changes that are named."""
FEWEST = 10
"""Images of the class that a metric is of, below which a slice says nothing."""
FALL = 0.05
"""Difference from all images that is worth a sentence."""
LEAST = 0.02
"""Difference that is worth one where no other slice is further below."""
SERIOUS = 0.15


def weak_slices(dossier: Dossier) -> Iterator[Weakness]:
    """Name the slices that are furthest below all images, at most `NAMED`, and the lowest where none is far below."""
    found = dossier.assessment
    if found is None:
        return
    falls = [
        (found.metrics[name].value - each.metrics[name].value, name, each)
        for each in found.slices
        for name in NAMES
        if name in found.metrics and name in each.metrics and _counted(each, name) >= FEWEST
    ]
    worst = sorted((fall for fall in falls if fall[0] >= LEAST), key=lambda fall: -fall[0])[:NAMED]
    for fall, name, each in [found for found in worst if found[0] >= FALL] or worst[:1]:
        metric, whole = each.metrics[name], found.metrics[name]
        apart = metric.high < whole.value
        text = (
            f"{_first(NAMES[name])} is {_shown(metric)} where {each.group} is {each.value} ({each.images} images), and "
            f"{whole.value:.3f} on all images{'' if apart else '; the interval reaches that'}."
        )
        weight = "serious" if apart and fall >= SERIOUS else "caution"
        yield Weakness(weight=weight, topic=f"Weak slice: {each.group} {each.value}", text=text, section="slices")


def weak_changes(dossier: Dossier) -> Iterator[Weakness]:
    """Name the mildest changes of an image that lower a metric by `SERIOUS`, at most `NAMED`."""
    found = dossier.robustness
    if found is None:
        text = (
            "How its answers change with noise, blur, contrast, compression, rotation, crop and size was not measured."
        )
        yield Weakness(weight="not known", topic="No robustness test", text=text, section="robustness")
        return
    yield from _scaled(dossier, found)
    mildest: dict[str, tuple[int, float, str, RobustnessRow]] = {}
    for row in found.rows:
        for name in NAMES:
            if name in row.metrics and name in found.reference:
                fall = found.reference[name].value - row.metrics[name].value
                if fall >= SERIOUS and (row.change not in mildest or row.strength < mildest[row.change][0]):
                    mildest[row.change] = (row.strength, fall, name, row)
    for strength, _, name, row in sorted(mildest.values(), key=lambda each: (each[0], -each[1]))[:NAMED]:
        text = (
            f"{_first(NAMES[name])} falls from {found.reference[name].value:.3f} to {_shown(row.metrics[name])} at "
            f"strength {strength} of 5 ({row.amount})."
        )
        weight = "serious" if strength <= 2 else "caution"
        yield Weakness(weight=weight, topic=f"Sensitive to {row.change}", text=text, section="robustness")


def _scaled(dossier: Dossier, found: Robustness) -> Iterator[Weakness]:
    """Compare the unchanged images, which were scaled like the changed ones, with the release set at full size.

    The falls by a change are measured from that reference, so that one by the scaling alone shows in none of them.
    """
    verdict = dossier.verdict
    if verdict is None or verdict.measured_on != "release set":
        return
    whole = verdict.metrics
    # the images are drawn, so that a lower value alone may be chance
    lower = [
        name
        for name in NAMES
        if name in whole and name in found.reference and found.reference[name].high < whole[name].low
    ]
    if not lower:
        return
    pairs = "; ".join(f"{NAMES[name]} {_shown(found.reference[name])}, there {_shown(whole[name])}" for name in lower)
    text = (
        f"On {found.images} images that were scaled to {SIDE} pixels and not changed otherwise, from "
        f"{found.measured_on}, it does worse than on the release set: {pairs}. The falls by changes are measured "
        "from these numbers."
    )
    serious = any(whole[name].value - found.reference[name].value >= SERIOUS for name in lower)
    yield Weakness(
        weight="serious" if serious else "caution", topic="Sensitive to scaling", text=text, section="robustness"
    )


def _counted(each: Slice, name: str) -> int:
    """Return how many images a metric of a slice rests on."""
    return {"sensitivity": each.positives, "specificity": each.negatives}.get(name, min(each.positives, each.negatives))


def _first(text: str) -> str:
    return text[0].upper() + text[1:]


def _shown(metric: Metric) -> str:
    return f"{metric.value:.3f} ({metric.low:.3f} to {metric.high:.3f})"
