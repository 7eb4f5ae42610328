"""The documents of an evaluation: metrics with intervals, curves, shortcut dependence, reasons and the verdict."""

from __future__ import annotations

from pydantic import Field

from pneumonia.records.base import Document


class Metric(Document):
    """A metric with its interval; `value` is computed from the data, not the mean of the bootstrap."""

    value: float
    low: float
    high: float


class Bin(Document):
    """The images whose probability lies in [low, high); [low, high] for the last bin."""

    low: float
    high: float
    n: int
    predicted: float  # mean probability of PNEUMONIA
    observed: float  # share of images labelled PNEUMONIA


class Curves(Document):
    """The data of the plots. Every rate is in 0 to 1; a curve's points start at the highest threshold."""

    threshold: float
    false_positive_rate: tuple[float, ...]
    true_positive_rate: tuple[float, ...]
    recall: tuple[float, ...]
    precision: tuple[float, ...]
    reliability: tuple[Bin, ...]  # empty bins are left out
    confusion: tuple[tuple[int, int], tuple[int, int]]  # rows: truth, columns: prediction; NORMAL, PNEUMONIA


class Reason(Document):
    """One condition and its outcome; `value` is compared with `limit`, both None where there is no comparison."""

    name: str
    passed: bool
    text: str
    value: float | None = None
    limit: float | None = None


class ChampionComparison(Document):
    """The champion that the candidate was compared with, and the differences candidate − champion.

    Attributes:
        images, of: how many of how many test images both were scored on: those whose files had equal content.
    """

    version: str
    weights_digest: str | None = None
    differences: dict[str, Metric] = Field(default_factory=dict)
    images: int | None = None
    of: int | None = None


class Verdict(Document):
    """The gate's decision, passed if every reason has passed; `metrics` are the candidate's."""

    passed: bool
    reasons: tuple[Reason, ...]
    metrics: dict[str, Metric]
    champion: ChampionComparison | None = None


class ShortcutDependence(Document):
    """How a model's probabilities change when a shortcut feature is removed from the images.

    Attributes:
        separation: decrease of the separation, which is the mean probability of the positives less that of the
            negatives.
        normal, pneumonia: change of the mean probability of each class.
    """

    separation: Metric
    normal: Metric
    pneumonia: Metric
