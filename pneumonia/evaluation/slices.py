"""Compute the metrics of parts of the images: by subtype, size, encoding, brightness, age and view."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pneumonia.config.schema import EvaluationConfig
from pneumonia.evaluation.scored_table import ScoredTable, known_patients
from pneumonia.imaging.image_statistics import quantisation
from pneumonia.records.assessment import Slice
from pneumonia.statistics.parts import Part, part_metrics

FEW = 30
"""Images of a class below which a slice is called small: a sensitivity of 0.9 then has an interval of 0.22 or more."""
SUBTYPES = {"bacteria": "bacterial", "virus": "viral"}
_THIRDS = (1 / 3, 2 / 3)

Bools = NDArray[np.bool_]


class Group(NamedTuple):
    """A part of the images: what it is by, what it is, and which images it holds, bool [n]."""

    name: str
    value: str
    chosen: Bools


def slices(table: ScoredTable, config: EvaluationConfig) -> list[Slice]:
    """Compute the metrics of each slice.

    A subtype is held against all negatives. Size, brightness and the quantisation of JPEG are divided into thirds of
    these images, whose bounds the slice states. An attribute that is the same for all images makes no slice.

    Args:
        table: of images.
        config: number of resamples, coverage, seed of the intervals.
    """
    part = Part.of(table.scored)
    return [_slice(table, part, group, config) for group in groups(table)]


def groups(table: ScoredTable) -> list[Group]:
    """Return the parts of the images that metrics are computed of; see `slices`."""
    found = [
        *_subtypes(table),
        *_sizes(table),
        *_encodings(table),
        *_brightness(table),
        *_values("age", [image.age for image in table.images]),
        *_values("view", [image.view for image in table.images]),
    ]
    return [group for group in found if group.chosen.any() and not group.chosen.all()]


def _slice(table: ScoredTable, part: Part, group: Group, config: EvaluationConfig) -> Slice:
    chosen = part.take(group.chosen)
    positives = int(chosen.positive.sum())
    negatives = len(chosen) - positives
    images = [image for image, inside in zip(table.images, group.chosen, strict=True) if inside]
    return Slice(
        group=group.name,
        value=group.value,
        images=len(chosen),
        positives=positives,
        negatives=negatives,
        patients=known_patients(images),
        metrics=part_metrics(chosen, config),
        note=_note(positives, negatives),
    )


def _note(positives: int, negatives: int) -> str:
    """Say why a slice's metrics say little."""
    missing = "no positives" if not positives else "no negatives" if not negatives else ""
    few = [f"{n} {name}" for n, name in ((positives, "positives"), (negatives, "negatives")) if 0 < n < FEW]
    small = f"small: {' and '.join(few)}" if few else ""
    return "; ".join(words for words in (missing, small) if words)


def _subtypes(table: ScoredTable) -> Iterator[Group]:
    negative = table.labels == 0
    for subtype, words in SUBTYPES.items():
        own = np.array([image.subtype == subtype for image in table.images], np.bool_)
        if (own & ~negative).any():
            yield Group("subtype", f"{words}, against all negatives", (own & ~negative) | negative)


def _sizes(table: ScoredTable) -> Iterator[Group]:
    megapixels = np.array([image.width * image.height / 1e6 for image in table.images])
    if (megapixels > 0).all():
        yield from _thirds("image size", megapixels, "{:.2f}", " megapixels")


def _encodings(table: ScoredTable) -> Iterator[Group]:
    encodings = [image.encoding for image in table.images]
    formats = np.array([encoding.partition(";")[0].partition(" ")[0].upper() for encoding in encodings])
    coarse = quantisation(encodings)
    jpeg = np.isfinite(coarse)
    if jpeg.any():
        yield from _thirds("encoding", coarse, "{:.1f}", "", jpeg, "JPEG, mean of the quantisation table ")
    for name in sorted(set(formats[~jpeg].tolist()) - {""}):
        yield Group("encoding", name, ~jpeg & (formats == name))


def _brightness(table: ScoredTable) -> Iterator[Group]:
    values = np.array([np.nan if image.brightness is None else image.brightness for image in table.images])
    if (known := np.isfinite(values)).any():
        yield from _thirds("brightness", values, "{:.3f}", " of full scale", known)


def _thirds(
    name: str, values: NDArray[np.float64], form: str, unit: str, known: Bools | None = None, before: str = ""
) -> Iterator[Group]:
    """Divide the images into thirds by a number; equal numbers stay together, so that there may be fewer parts."""
    known = np.ones(len(values), np.bool_) if known is None else known
    first, second = np.quantile(values[known], _THIRDS)
    low, high = form.format(first), form.format(second)
    filled = np.where(known, values, np.inf)
    parts = (
        (f"up to {low}", filled <= first),
        (f"above {low}, up to {high}", (filled > first) & (filled <= second)),
        (f"above {high}", (filled > second) & known),
    )
    for words, chosen in parts:
        if chosen.any():
            yield Group(name, f"{before}{words}{unit}", chosen)


def _values(name: str, values: Sequence[str]) -> Iterator[Group]:
    column = np.array(values, dtype=np.str_)
    for value in sorted(set(values) - {""}):
        yield Group(name, value, column == value)
