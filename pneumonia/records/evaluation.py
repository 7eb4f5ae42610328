"""What an evaluation returns: metrics with intervals, curves, shortcut dependence, reasons and the verdict."""

from __future__ import annotations

from pydantic import Field

from pneumonia.records.base import Document


class Metric(Document):
    """A figure with its interval; `value` is what the data show, not the bootstrap's mean."""

    value: float
    low: float
    high: float


class Bin(Document):
    """The films whose probability falls into [low, high), the last bin into [low, high]."""

    low: float
    high: float
    n: int
    predicted: float  # mean probability of PNEUMONIA
    observed: float  # share that is PNEUMONIA


class Curves(Document):
    """What the plots show. Every rate is in 0 to 1; the points of a curve go from the strictest threshold down."""

    threshold: float
    false_positive_rate: tuple[float, ...]
    true_positive_rate: tuple[float, ...]
    recall: tuple[float, ...]
    precision: tuple[float, ...]
    reliability: tuple[Bin, ...]  # bins that hold no film are left out
    confusion: tuple[tuple[int, int], tuple[int, int]]  # rows: truth, columns: call, both NORMAL then PNEUMONIA


class Reason(Document):
    """One condition and how it came out; `value` and `limit` are what was compared, None where nothing was."""

    name: str
    passed: bool
    text: str
    value: float | None = None
    limit: float | None = None


class ChampionComparison(Document):
    """The champion that the candidate was held against, and the differences candidate − champion."""

    version: str
    weights_digest: str | None = None
    differences: dict[str, Metric] = Field(default_factory=dict)


class Verdict(Document):
    """Passed if every reason is; `figures` are the candidate's."""

    passed: bool
    reasons: tuple[Reason, ...]
    figures: dict[str, Metric]
    champion: ChampionComparison | None = None


class ShortcutDependence(Document):
    """What taking a cue out of the films did.

    Attributes:
        separation: fall of the difference between the classes' mean probabilities.
        normal, pneumonia: how far the mean probability of each class moved.
    """

    separation: Metric
    normal: Metric
    pneumonia: Metric
