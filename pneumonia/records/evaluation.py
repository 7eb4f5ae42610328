"""The documents of an evaluation: metrics with intervals, curves, shortcut dependence, reasons and the verdict."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

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


class ComparedMetric(Document):
    """A metric's difference candidate − other model on the same images, held against a margin.

    Attributes:
        metric: one of `pneumonia.config.policy.COMPARED`.
        difference: value and interval.
        margin: what may be lost.
        outcome: see `pneumonia.statistics.comparison.Outcome`.
        p: two-sided p-value of no difference: DeLong's for AUROC, McNemar's exact one for sensitivity and specificity.
        images_to_tell: how many images of this kind would decide, where these cannot.
    """

    metric: str
    difference: Metric
    margin: float
    outcome: Literal["better", "not worse", "worse", "cannot tell"]
    p: float | None = None
    images_to_tell: int | None = None


class ModelComparison(Document):
    """A candidate against another model on images of the gate set, seen in one way.

    Attributes:
        opponent, version: champion or reference, and its version.
        view: the images as they are, or without shortcuts.
        metrics: one a metric of the plan.
        images, of: how many of how many images of the gate set both were scored on: those whose files had equal
            content.
        seen: the other model may have been trained on some of these images.
    """

    opponent: Literal["champion", "reference"]
    version: str
    view: Literal["as they are", "without shortcuts"]
    metrics: tuple[ComparedMetric, ...]
    images: int
    of: int
    seen: bool = False


class Champion(Document):
    """The champion that the verdict was reached against."""

    version: str
    weights_digest: str | None = None


class Verdict(Document):
    """The gate's decision, passed if every reason has passed.

    Attributes:
        metrics: the candidate's, of the images in `measured_on`: the release set, or the gate set where that refused
            it.
        gate_metrics: the candidate's on the gate set, by view; empty for demos.
        comparisons: with the champion and the reference; empty for demos and for a first champion.
        outcome: of all comparisons together.
        policy: digest of the change control plan; None for demos, which have no plan.
    """

    passed: bool
    reasons: tuple[Reason, ...]
    metrics: dict[str, Metric]
    measured_on: Literal["release set", "gate set"] = "release set"
    gate_metrics: dict[str, dict[str, Metric]] = Field(default_factory=dict)
    comparisons: tuple[ModelComparison, ...] = ()
    outcome: Literal["better", "not worse", "worse", "cannot tell"] | None = None
    champion: Champion | None = None
    policy: str | None = None

    @model_validator(mode="after")
    def _agrees_with_its_reasons(self) -> Self:
        """Refuse an approval over a failed reason, and a refusal without one, wherever the document comes from."""
        failed = [reason.name for reason in self.reasons if not reason.passed]
        if self.passed and failed:
            raise ValueError(f"passed is true, and these reasons have failed: {', '.join(failed)}")
        if not self.passed and not failed:
            raise ValueError("passed is false, and no reason has failed")
        return self


class OutsideMetrics(Document):
    """A model's metrics on an outside set.

    Attributes:
        name: of the set.
        when: ISO 8601 in UTC.
        rows: digest of the images' files (`pneumonia.registry.openings.rows_digest`).
        counts: images by class.
        patients: known patients; None where none is known, so that the intervals are by image.
        threshold: probability from which an image is classified as PNEUMONIA.
        metrics: with intervals.
    """

    name: str
    when: str
    rows: str
    counts: dict[str, int]
    patients: int | None = None
    threshold: float
    metrics: dict[str, Metric] = Field(default_factory=dict)


class ShortcutDependence(Document):
    """How a model's probabilities change when a shortcut feature is removed from the images.

    Attributes:
        separation: decrease of the separation, which is the mean probability of the positives less that of the
            negatives.
        normal, pneumonia: change of the mean probability of each class.
        beyond_control: by how much the separation decreases more than under a change as strong that touches no
            shortcut; None where that was not measured.
    """

    separation: Metric
    normal: Metric
    pneumonia: Metric
    beyond_control: Metric | None = None
