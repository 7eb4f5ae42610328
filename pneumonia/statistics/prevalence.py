"""Calibrate scores, and estimate from them how common the positives of an unlabelled sample are.

Calibration by a logistic curve: Platt, Probabilistic Outputs for Support Vector Machines, 1999. Prevalence by
expectation and maximisation: Saerens, Latinne and Decaestecker, Neural Computation 14, 2002, 21-41, which holds where
the classes look as they did and only their shares have changed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
STEPS, TOLERANCE = 100, 1e-6
LIMITS = (1e-3, 1 - 1e-3)
"""The least and the largest prevalence that is reported: beyond, odds are of no use."""
_PRIOR = 1e-3  # of the slope: keeps it finite where the classes are separated


@dataclass(frozen=True)
class Calibration:
    """A logistic curve from a score to the probability of a positive.

    Attributes:
        slope, offset: of the log odds.
        prevalence: share of positives of the sample it was fitted on.
    """

    slope: float
    offset: float
    prevalence: float

    @classmethod
    def fit(cls, scores: Floats, labels: NDArray[np.integer]) -> Calibration:
        """Fit the curve by Newton's method to Platt's targets, which never are 0 or 1.

        Args:
            scores: [n], log odds or any other score that rises with the probability.
            labels: [n], 0 and 1, both of which must occur.

        Raises:
            ValueError: one class only.
        """
        positives = int(labels.sum())
        negatives = len(labels) - positives
        if not positives or not negatives:
            raise ValueError("a calibration needs images of both classes")
        targets = np.where(labels > 0, (positives + 1) / (positives + 2), 1 / (negatives + 2))
        design = np.stack([scores, np.ones_like(scores)], axis=1)
        found = np.array([0.0, np.log(positives / negatives)])
        prior = np.array([_PRIOR, 0.0])
        for _ in range(STEPS):
            predicted = logistic(design @ found)
            gradient = design.T @ (predicted - targets) + prior * found
            curvature = (design * (predicted * (1 - predicted))[:, None]).T @ design + np.diag(prior + 1e-9)
            step = np.linalg.solve(curvature, gradient)
            found = found - step * min(1.0, 2 / max(1e-12, float(np.abs(step).max())))
            if np.abs(step).max() < TOLERANCE:
                break
        return cls(float(found[0]), float(found[1]), positives / len(labels))

    def probabilities(self, scores: Floats, prevalence: float | None = None) -> Floats:
        """Return the probabilities of scores [n], where positives are as common as `prevalence` says."""
        odds = self.slope * scores + self.offset
        if prevalence is not None:
            odds = odds + log_odds(prevalence) - log_odds(self.prevalence)
        return logistic(odds)

    def ratios(self, scores: Floats) -> Floats:
        """Return how much likelier each score is of a positive than of a negative, [n]."""
        odds = self.slope * scores + self.offset - log_odds(self.prevalence)
        return np.exp(np.clip(odds, -30, 30))


def logistic(odds: Floats) -> Floats:
    """Return the probability of log odds."""
    return np.asarray(0.5 * (1 + np.tanh(odds / 2)), dtype=np.float64)


def log_odds(probability: float) -> float:
    """Return the log odds of a probability between 0 and 1."""
    return float(np.log(probability / (1 - probability)))


def estimate_prevalence(ratios: Floats, counts: Floats, start: float) -> Floats:
    """Estimate the share of positives of several resamples of one sample.

    Args:
        ratios: [n], of `Calibration.ratios`.
        counts: [b, n], how often each observation is in each resample.
        start: prevalence to begin with.

    Returns:
        [b], within `LIMITS`.
    """
    share = np.full(len(counts), start)
    total = counts.sum(axis=1)
    for _ in range(STEPS):
        odds = ratios[None] * (share / (1 - share))[:, None]
        after = np.clip((counts * (odds / (1 + odds))).sum(axis=1) / total, *LIMITS)
        moved = float(np.abs(after - share).max())
        share = after
        if moved < TOLERANCE * 10:
            break
    return share
