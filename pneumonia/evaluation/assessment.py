"""Assess a model from a table of scored images: what it is good for, and where it is weak. Not a medical device.

Every number comes from the table alone, so that whoever has it computes the same ones. Loads no torch.
"""

from __future__ import annotations

import numpy as np

from pneumonia.config.schema import CLASSES, EvaluationConfig
from pneumonia.data.patients import UNKNOWN
from pneumonia.evaluation.scored_table import ScoredImage, ScoredTable, known_patients
from pneumonia.evaluation.slices import slices
from pneumonia.records.assessment import Assessment, Case
from pneumonia.statistics.diagnostic import EVEN, PREVALENCES, likelihood_ratios, predictive_values
from pneumonia.statistics.metrics import compute_metrics, reliability
from pneumonia.statistics.net_benefit import decision_curve
from pneumonia.statistics.selective import automatic_negatives, certainty, selective

__all__ = ["ScoredTable", "assess", "most_confident", "worst_errors"]

WORST, CONFIDENT = 50, 10


def assess(table: ScoredTable, evaluation: EvaluationConfig, measured_on: str) -> Assessment:
    """Compute all that a table of scored images says about a model.

    Args:
        table: of images of both classes.
        evaluation: resamples, coverage and seed of the intervals, which are drawn by patient; stated prevalence.
        measured_on: what the images are, in words.

    Raises:
        DataError: images of one class only, or probabilities that are not finite.
    """
    scored, labels = table.scored, table.labels
    values = predictive_values(scored, evaluation, PREVALENCES)
    ratios, remarks = likelihood_ratios(next(each for each in values if each.prevalence == EVEN))
    return Assessment(
        measured_on=measured_on,
        images=len(labels),
        positives=int(labels.sum()),
        negatives=int((labels == 0).sum()),
        patients=known_patients(table.images),
        copies=sum(image.copy for image in table.images),
        threshold=table.threshold,
        confidence=evaluation.confidence,
        prevalence=evaluation.prevalence,
        metrics=compute_metrics(scored, evaluation) | ratios,
        predictive_values=tuple(values),
        decision_curve=tuple(decision_curve(scored)),
        decision_curve_at_prevalence=tuple(decision_curve(scored, evaluation.prevalence)),
        reliability=reliability(scored),
        selective=tuple(selective(scored, evaluation)),
        automatic_negatives=tuple(automatic_negatives(scored, evaluation)),
        slices=tuple(slices(table, evaluation)),
        worst_errors=tuple(_case(table.images[at]) for at in worst_errors(table)),
        most_confident=tuple(_case(table.images[at]) for at in most_confident(table)),
        remarks=tuple(remarks),
    )


def worst_errors(table: ScoredTable, limit: int = WORST) -> list[int]:
    """Return the positions of the wrong answers, the furthest on the wrong side of the threshold first."""
    wrong = (table.probabilities >= table.threshold) != (table.labels == 1)
    return [at for at in _by_certainty(table) if wrong[at]][:limit]


def most_confident(table: ScoredTable, limit: int = CONFIDENT) -> list[int]:
    """Return the positions of the right answers of each class that are the furthest from the threshold."""
    right = (table.probabilities >= table.threshold) == (table.labels == 1)
    order = _by_certainty(table)
    return [at for label in (1, 0) for at in [at for at in order if right[at] and table.labels[at] == label][:limit]]


def _by_certainty(table: ScoredTable) -> list[int]:
    found: list[int] = np.argsort(-certainty(table.probabilities, table.threshold), kind="stable").tolist()
    return found


def _case(image: ScoredImage) -> Case:
    return Case(
        path=image.path,
        label=CLASSES[image.label],
        probability=image.probability,
        patient=None if image.patient_source == UNKNOWN else image.patient,
        sha256=image.sha256,
    )
