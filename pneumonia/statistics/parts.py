"""Compute metrics of parts of the images, which may hold one class only, and rates that may be 0 or 1.

AUROC, sensitivity and specificity have the bootstrap interval by patient of `pneumonia.statistics.bootstrap`. A rate
that is 0 or 1 has no width under a bootstrap, which in a small part says too much: its interval is the exact one
(Clopper and Pearson, Biometrika 26, 1934, 404), with each patient counted once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from pneumonia.config.schema import EvaluationConfig
from pneumonia.records.evaluation import Metric
from pneumonia.statistics.bootstrap import Sample
from pneumonia.statistics.metrics import Scored

Bools = NDArray[np.bool_]


def exact_lower(hits: int, n: int, confidence: float) -> float:
    """Return the exact one-sided lower bound of a rate of `hits` in `n` independent observations, 0 to 1."""
    return 0.0 if hits == 0 else float(betaincinv(hits, n - hits + 1, 1 - confidence))


def exact_interval(hits: int, n: int, confidence: float) -> tuple[float, float]:
    """Return the exact two-sided interval of a rate of `hits` in `n` independent observations, 0 to 1."""
    each = (1 + confidence) / 2
    return exact_lower(hits, n, each), 1 - exact_lower(n - hits, n, each)


@dataclass(frozen=True)
class Part:
    """Some images and the patients that they belong to.

    Attributes:
        positive: bool [n], labelled PNEUMONIA.
        probabilities: [n].
        answered: bool [n], classified as PNEUMONIA.
        patients: [n] keys.
        copies: bool [n], which repeat an earlier image: they count in values, not in intervals.
    """

    positive: Bools
    probabilities: NDArray[np.float64]
    answered: Bools
    patients: NDArray[np.intp]
    copies: Bools

    @classmethod
    def of(cls, scored: Scored) -> Part:
        """Return all images of a scoring."""
        labels = np.asarray(scored.labels)
        probabilities = np.asarray(scored.probabilities, dtype=np.float64)
        keys = np.arange(len(labels)) if scored.patients is None else np.asarray(scored.patients)
        _, patients = np.unique(keys, return_inverse=True)
        copies = np.zeros(len(labels), np.bool_) if scored.copies is None else np.asarray(scored.copies, np.bool_)
        return cls(labels > 0, probabilities, probabilities >= scored.threshold, patients, copies)

    def take(self, chosen: Bools) -> Part:
        """Return the chosen images; where all of them are copies, none of them counts as one."""
        copies = self.copies[chosen]
        kept = np.zeros_like(copies) if copies.all() else copies
        return Part(
            self.positive[chosen], self.probabilities[chosen], self.answered[chosen], self.patients[chosen], kept
        )

    def __len__(self) -> int:
        return len(self.positive)

    @property
    def right(self) -> Bools:
        """Which images are classified as they are labelled, bool [n]."""
        return np.asarray(self.positive == self.answered)

    def sample(self) -> Sample:
        """Return the images as a sample, which may hold one class only."""
        unique, known = np.unique(self.patients[~self.copies], return_inverse=True)
        index = np.full(len(self), len(unique), dtype=np.intp)
        index[~self.copies] = known
        return Sample(self.positive.astype(np.float64), index, len(unique), len(unique) + bool(self.copies.any()))


def part_metrics(part: Part, config: EvaluationConfig) -> dict[str, Metric]:
    """Compute AUROC, sensitivity and specificity, as far as their classes occur.

    Args:
        part: at least one image.
        config: number of resamples, coverage, seed.
    """
    found = {}
    if part.positive.any() and not part.positive.all():
        found["auroc"] = _auroc(part, config)
    if part.positive.any():
        found["sensitivity"] = rate(part.take(part.positive), config)
    if not part.positive.all():
        found["specificity"] = rate(part.take(~part.positive), config)
    return found


def rate(part: Part, config: EvaluationConfig, *, of_errors: bool = False) -> Metric:
    """Compute the share of right answers, or of errors, with its interval.

    Args:
        part: at least one image.
        config: number of resamples, coverage, seed.
        of_errors: count the wrong answers.
    """
    hits = ~part.right if of_errors else part.right
    value, sample = float(hits.mean()), part.sample()
    if value in (0, 1):
        n = sample.n_patients
        low, high = exact_interval(n if value else 0, n, config.confidence)
        return Metric(value=value, low=low, high=high)
    count = np.bincount(sample.patient, minlength=sample.columns)
    right = np.bincount(sample.patient, hits, sample.columns)
    resampled = np.concatenate([(drawn @ right) / (drawn @ count) for drawn in sample.resamples(config)])
    return _metric(value, resampled, config)


def _auroc(part: Part, config: EvaluationConfig) -> Metric:
    """Compute the AUROC from the pairs of each two patients; resamples with one class only are left out."""
    sample = part.sample()
    positive = part.positive
    wins = 0.5 * (np.sign(part.probabilities[positive][:, None] - part.probabilities[~positive][None]) + 1)
    # half and whole numbers, whose sums are exact in any order: the same bits on every machine
    pairs = np.zeros((sample.columns, sample.columns))
    np.add.at(pairs, (sample.patient[positive][:, None], sample.patient[~positive][None]), wins)
    positives = np.bincount(sample.patient, positive, sample.columns)
    negatives = np.bincount(sample.patient, ~positive, sample.columns)
    found = []
    for drawn in sample.resamples(config):
        counts = drawn[sample.both_classes(drawn)].astype(np.float64)
        found.append(((counts @ pairs) * counts).sum(axis=1) / ((counts @ positives) * (counts @ negatives)))
    return _metric(float(wins.mean()), np.concatenate(found), config)


def _metric(value: float, resampled: NDArray[np.float64], config: EvaluationConfig) -> Metric:
    """Return a value with the percentiles of its resamples; without a resample, with all that is possible."""
    if not len(resampled):
        return Metric(value=value, low=0.0, high=1.0)
    tail = (1 - config.confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Metric(value=value, low=float(low), high=float(high))
