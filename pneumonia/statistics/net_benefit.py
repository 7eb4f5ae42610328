"""Compute decision curves: the net benefit of acting as a model says.

Vickers and Elkin, Medical Decision Making 26, 2006, 565-574.

Somebody who would act from a probability t on holds one missed case as bad as (1 − t) / t needless actions. The net
benefit is the share of true positives less the share of false positives at that exchange: TP/n − FP/n · t / (1 − t).
Acting on nobody has 0, so that a model is of use at t where it is above 0 and above acting on everybody.
"""

from __future__ import annotations

from pneumonia.records.assessment import DecisionPoint
from pneumonia.statistics.bootstrap import Sample
from pneumonia.statistics.metrics import Scored, at_prevalence, checked_probabilities

THRESHOLDS = tuple(percent / 100 for percent in range(1, 100))


def decision_curve(scored: Scored, prevalence: float | None = None) -> list[DecisionPoint]:
    """Compute the net benefit at the threshold probabilities `THRESHOLDS`.

    Args:
        scored: labels and probabilities.
        prevalence: share of PNEUMONIA at the place of use, 0 to 1. The classes are weighed by it, and its log odds are
            added to those of the probability, which is for equally likely classes, as in the metrics
            ``…_at_prevalence``. None: the images as they are, and their probabilities as they are.

    Raises:
        DataError: NaN or infinite probabilities, or only one class.
    """
    sample = Sample.of(scored.labels, None)
    values, positive = checked_probabilities(scored, sample), sample.labels > 0
    share = float(positive.mean()) if prevalence is None else prevalence
    if prevalence is not None:
        values = at_prevalence(values, prevalence)
    found = []
    for threshold in THRESHOLDS:
        acted, exchange = values >= threshold, threshold / (1 - threshold)
        hits, alarms = float(acted[positive].mean()), float(acted[~positive].mean())
        found.append(
            DecisionPoint(
                threshold=threshold,
                model=share * hits - (1 - share) * alarms * exchange,
                all_positive=share - (1 - share) * exchange,
            )
        )
    return found
