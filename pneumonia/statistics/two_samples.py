"""Compare two samples, one of them weighted, by ranks alone: Kolmogorov and Smirnov's distance, and the AUROC.

numpy alone, so that it can be called hundreds of times to find how a statistic varies by chance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NORMAL_975 = 1.959964  # the normal distribution's quantile of a 95 % interval


def effective_size(weights: Floats) -> float:
    """Return how many unweighted observations tell as much (Kish, Survey Sampling, 1965): (Σw)² / Σw²."""
    return float(weights.sum() ** 2 / (weights**2).sum())


@dataclass(frozen=True)
class Ranked:
    """Observations of several features, sorted once for any number of divisions into two samples.

    Attributes:
        order: [n, features], the rows in ascending order of each feature.
        last: bool [n, features], whether the next value is larger, that is whether the distributions may be compared.
    """

    order: NDArray[np.intp]
    last: NDArray[np.bool_]

    @classmethod
    def of(cls, values: NDArray[np.floating]) -> Ranked:
        """Sort values [n, features], finite."""
        order = np.argsort(values, axis=0, kind="stable")
        ordered = np.take_along_axis(values, order, axis=0)
        last = np.ones(values.shape, dtype=bool)
        last[:-1] = ordered[1:] > ordered[:-1]
        return cls(order, last)

    def distance(self, first: Floats, second: Floats) -> Floats:
        """Return Kolmogorov and Smirnov's distance of two samples, [features], 0 to 1.

        Args:
            first, second: weights [n], 0 where an observation is not in the sample; each is divided by its sum.
        """
        difference = first / first.sum() - second / second.sum()
        steps = np.cumsum(difference[self.order], axis=0)
        return np.asarray(np.max(np.abs(steps), axis=0, where=self.last, initial=0.0), dtype=np.float64)


@dataclass(frozen=True)
class Area:
    """An AUROC with its 95 % interval (DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988, 837-845)."""

    value: float
    low: float
    high: float


def placements(positive: Floats, negative: Floats, weights: Floats | None = None) -> tuple[Floats, Floats]:
    """Return of each positive the share of negatives below it, and of each negative that of positives above it.

    Args:
        positive: scores [p].
        negative: scores [q].
        weights: of the negatives, [q]; equal by default.

    Returns:
        [p] and [q], 0 to 1; ties count half.
    """
    wins = 0.5 * (np.sign(positive[:, None] - negative[None]) + 1)
    weights = np.ones(len(negative)) if weights is None else weights
    return wins @ (weights / weights.sum()), wins.mean(axis=0)


def area(positive_placements: Floats, negative_placements: Floats, weights: Floats | None = None) -> Area:
    """Return the AUROC of placements with DeLong's interval; of weighted negatives, by their effective number.

    The interval has no width where the samples are separated completely, or where a sample is of one observation.
    """
    weights = np.ones(len(negative_placements)) if weights is None else weights
    share = weights / weights.sum()
    value = float(positive_placements.mean())
    p, q = len(positive_placements), effective_size(weights)
    if p < 2 or q < 2:
        return Area(value, value, value)
    spread = float(share @ (negative_placements - value) ** 2) * q / (q - 1)
    wide = NORMAL_975 * math.sqrt(float(positive_placements.var(ddof=1)) / p + spread / q)
    return Area(value, max(0.0, value - wide), min(1.0, value + wide))


def wilson(share: float, n: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share of `n` (Wilson, JASA 22, 1927)."""
    z = NORMAL_975
    middle, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    return max(0.0, (middle - half) / (1 + z * z / n)), min(1.0, (middle + half) / (1 + z * z / n))
