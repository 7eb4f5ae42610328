"""Compute what an answer is worth where PNEUMONIA is as common as somebody says: predictive values, likelihood ratios.

By Bayes' theorem from sensitivity and specificity (Altman and Bland, BMJ 309, 1994, 102 and 329, 2004, 168), which is
right where the positives and the negatives look as they do here and their shares alone differ. Intervals are those of
`pneumonia.statistics.bootstrap`, by patient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pneumonia.config.schema import EvaluationConfig
from pneumonia.records.assessment import PredictiveValues
from pneumonia.records.evaluation import Metric
from pneumonia.statistics.bootstrap import Counts, Floats, Sample, intervals
from pneumonia.statistics.metrics import Scored, checked_probabilities

PREVALENCES = (0.05, 0.2, 0.5)
EVEN = 0.5
POSITIVE, NEGATIVE = "likelihood_ratio_positive", "likelihood_ratio_negative"


def predictive_values(
    scored: Scored, config: EvaluationConfig, prevalences: Sequence[float] = PREVALENCES
) -> list[PredictiveValues]:
    """Compute the predictive values at some prevalences, each with its interval.

    Where no image at all gets an answer, its predictive value is 0, as `precision` is.

    Args:
        scored: labels, probabilities, patients, threshold.
        config: number of resamples, coverage, seed.
        prevalences: shares of PNEUMONIA, between 0 and 1.

    Raises:
        DataError: NaN or infinite probabilities, or only one class.
    """
    sample = Sample.of(scored.labels, scored.patients, scored.copies)
    answered = checked_probabilities(scored, sample) >= scored.threshold
    positive = sample.labels > 0
    outcomes = (positive & answered, positive, ~positive & answered, ~positive)
    sums = np.stack([np.bincount(sample.patient, each, sample.columns) for each in outcomes], axis=1)

    def score(counts: Counts) -> Floats:
        # counts of images, which are whole numbers: exact in any order of summation
        hits, positives, alarms, negatives = (counts.astype(np.float64) @ sums).T
        sensitivity, alarm = hits / positives, alarms / negatives
        return np.stack([each for share in prevalences for each in _values(sensitivity, alarm, share)])

    found = intervals(sample, score, config)
    return [
        PredictiveValues(prevalence=share, ppv=found[2 * at], npv=found[2 * at + 1])
        for at, share in enumerate(prevalences)
    ]


def _values(sensitivity: Floats, alarm: Floats, prevalence: float) -> tuple[Floats, Floats]:
    """Return PPV and NPV from sensitivity and false positive rate."""
    true, false = prevalence * sensitivity, (1 - prevalence) * alarm
    missed, cleared = prevalence * (1 - sensitivity), (1 - prevalence) * (1 - alarm)
    return _share(true, false), _share(cleared, missed)


def _share(part: Floats, rest: Floats) -> Floats:
    whole = part + rest
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)


def likelihood_ratios(even: PredictiveValues) -> tuple[dict[str, Metric], list[str]]:
    """Compute the likelihood ratios of a positive and of a negative answer from the predictive values at even odds.

    At a prevalence of 50 % the odds of PNEUMONIA after an answer are the answer's likelihood ratio. A percentile of a
    rising function is the function of the percentile, so that the intervals carry over.

    Args:
        even: predictive values at 50 %.

    Returns:
        The ratios whose value and interval are finite and defined, and a sentence about each of the others: a model
        without a false positive has an infinite ratio, which no number states.
    """
    if even.prevalence != EVEN:
        raise ValueError("likelihood ratios come from predictive values at a prevalence of 50 %")
    ppv, npv = even.ppv, even.npv
    ends = {
        POSITIVE: (ppv.value, ppv.low, ppv.high),
        NEGATIVE: (1 - npv.value, 1 - npv.high, 1 - npv.low),
    }
    undefined = {POSITIVE: ppv.value == 0, NEGATIVE: npv.value == 0}
    found, remarks = {}, []
    for name, shares in ends.items():
        value, low, high = map(_odds, shares)
        if undefined[name]:
            remarks.append(f"{name} is not defined: no image, or no image of its class, gets that answer")
        elif math.isfinite(high) and math.isfinite(value):
            found[name] = Metric(value=value, low=low, high=high)
        elif math.isfinite(value):
            remarks.append(f"{name} is {value:.3g}, at least {low:.3g}, with no upper end")
        else:
            remarks.append(f"{name} is infinite: no image was given that answer wrongly, and there is no interval")
    return found, remarks


def _odds(share: float) -> float:
    return math.inf if share >= 1 else share / (1 - share)
