"""The documents of an assessment: what a model is good for, where it is weak, and how far it withstands changes."""

from __future__ import annotations

from pydantic import Field

from pneumonia.records.base import Document
from pneumonia.records.evaluation import Bin, Metric


class PredictiveValues(Document):
    """What an answer is worth where PNEUMONIA is as common as `prevalence` says; see `statistics.diagnostic`.

    Attributes:
        prevalence: share of PNEUMONIA, 0 to 1.
        ppv: share of PNEUMONIA among the images that are classified as PNEUMONIA.
        npv: share of NORMAL among the images that are classified as NORMAL.
    """

    prevalence: float
    ppv: Metric
    npv: Metric


class DecisionPoint(Document):
    """The net benefit at a threshold probability, per image; nobody classified as PNEUMONIA has 0.

    Attributes:
        threshold: probability from which somebody would act, 0 to 1.
        model: net benefit of acting as the model says.
        all_positive: net benefit of acting on every image.
    """

    threshold: float
    model: float
    all_positive: float


class SelectivePoint(Document):
    """The errors among the most certain share of the images.

    Attributes:
        coverage: share of the images that is answered, 0 to 1.
        images: how many these are.
        error: share of them that is classified wrongly.
    """

    coverage: float
    images: int
    error: Metric


class AutomaticNegatives(Document):
    """The images that would be answered NORMAL without a reader, where those below a probability were.

    Attributes:
        below: probability of PNEUMONIA below which an image is answered.
        images: how many these are.
        share: of all images.
        missed: how many of them are PNEUMONIA.
        npv: share of NORMAL among them; None where there are none.
        npv_low: exact one-sided lower bound of `npv` (Clopper and Pearson), at the assessment's confidence; None where
            there are none.
    """

    below: float
    images: int
    share: float
    missed: int
    npv: float | None
    npv_low: float | None


class Slice(Document):
    """The metrics of some of the images, which one attribute selects.

    Attributes:
        group: the attribute, such as brightness.
        value: what it is in these images, in words with its bounds.
        images, positives, negatives: how many.
        patients: known ones; None where none is known.
        metrics: `auroc`, `sensitivity` and `specificity`, as far as their classes occur.
        note: why the metrics say little; empty where nothing is to be said.
    """

    group: str
    value: str
    images: int
    positives: int
    negatives: int
    patients: int | None
    metrics: dict[str, Metric]
    note: str = ""


class Case(Document):
    """An image with its answer.

    Attributes:
        path: relative to the data's root or the evaluated folder.
        label: NORMAL or PNEUMONIA, as the data set says.
        probability: of PNEUMONIA.
        patient: key; None where the patient is not known.
        sha256: of the file.
    """

    path: str
    label: str
    probability: float
    patient: str | None
    sha256: str


class Assessment(Document):
    """What a model is good for, computed from a table of scored images (`pneumonia.evaluation.assessment`).

    Attributes:
        measured_on: the images, in words.
        images, positives, negatives: how many.
        patients: known ones; None where none is known, so that intervals are by image.
        copies: images that repeat another one, and count in values alone.
        threshold: probability from which an image is classified as PNEUMONIA.
        confidence: coverage of the intervals.
        prevalence: share of PNEUMONIA at the place of use (evaluation.prevalence).
        metrics: of `statistics.metrics.METRICS`, and the likelihood ratios where they are finite.
        predictive_values: at several prevalences.
        decision_curve: net benefit at the prevalence of these images.
        decision_curve_at_prevalence: net benefit at `prevalence`, to which the probabilities are shifted.
        reliability: the calibration plot.
        selective: errors by coverage, from all images to the most certain ones.
        automatic_negatives: by the probability below which an image is answered.
        slices: metrics of parts of the images.
        worst_errors: at most 50 wrong answers, the furthest on the wrong side of the threshold first.
        most_confident: at most 10 right answers of each class, the furthest from the threshold first.
        remarks: what could not be computed, in words.
    """

    measured_on: str
    images: int
    positives: int
    negatives: int
    patients: int | None
    copies: int = 0
    threshold: float
    confidence: float
    prevalence: float
    metrics: dict[str, Metric]
    predictive_values: tuple[PredictiveValues, ...]
    decision_curve: tuple[DecisionPoint, ...]
    decision_curve_at_prevalence: tuple[DecisionPoint, ...] = ()
    reliability: tuple[Bin, ...]
    selective: tuple[SelectivePoint, ...]
    automatic_negatives: tuple[AutomaticNegatives, ...]
    slices: tuple[Slice, ...]
    worst_errors: tuple[Case, ...] = Field(max_length=50)
    most_confident: tuple[Case, ...] = Field(max_length=20)
    remarks: tuple[str, ...] = ()


class RobustnessRow(Document):
    """A model's metrics on images that were changed in one way.

    Attributes:
        change: one of `pneumonia.evaluation.robustness.CHANGES`.
        strength: 1 to 5.
        amount: what was done, in words with its unit.
        metrics: `auroc`, `sensitivity` and `specificity`.
    """

    change: str
    strength: int = Field(ge=1, le=5)
    amount: str
    metrics: dict[str, Metric]


class Robustness(Document):
    """How a model's metrics change with the images.

    Attributes:
        measured_on: the images, in words.
        when: ISO 8601 in UTC.
        weights_digest: of the model.
        threshold: probability from which an image is classified as PNEUMONIA.
        confidence: coverage of the intervals.
        images: how many of each row, both classes together.
        positives: how many of these are PNEUMONIA.
        rows_digest: of the images' files (`pneumonia.registry.openings.rows_digest`).
        seed: of the choice of images and of the noise.
        reference: metrics of the same images without a change.
        rows: one a change and strength.
    """

    measured_on: str
    when: str
    weights_digest: str
    threshold: float
    confidence: float
    images: int
    positives: int
    rows_digest: str
    seed: int
    reference: dict[str, Metric]
    rows: tuple[RobustnessRow, ...]
