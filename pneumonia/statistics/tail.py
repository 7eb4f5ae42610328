"""Continue the tail of a distribution of which some hundred values are known.

The excesses over a high quantile are taken as exponential (the generalised Pareto law with shape 0: Coles, An
Introduction to Statistical Modeling of Extreme Values, 2001, chapter 4), which holds for squares of normal variables
and of Kolmogorov's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

TOP = 0.1
"""Share of the values that the tail is fitted to."""


@dataclass(frozen=True)
class Tail:
    """The tail of a distribution.

    Attributes:
        start: the value that a share `TOP` exceeds.
        scale: mean excess of these.
    """

    start: float
    scale: float

    @classmethod
    def fit(cls, values: ArrayLike) -> Tail:
        """Fit the tail to values of which the top tenth are at least ten."""
        known = np.asarray(values, dtype=np.float64)
        start = float(np.quantile(known, 1 - TOP))
        above = known[known > start]
        return cls(start, max(float((above - start).mean()) if len(above) else 0.0, 1e-9))

    def rarity(self, values: ArrayLike) -> NDArray[np.float64]:
        """Return -ln of the share of values above each; below `start` a straight line, which only ranks."""
        return np.asarray((np.asarray(values) - self.start) / self.scale - np.log(TOP), dtype=np.float64)

    def value(self, rarity: float, excesses: float | None = None) -> float:
        """Return the value of a rarity.

        Args:
            rarity: -ln of the share of values above it.
            excesses: how many the scale was found from, which is uncertain then: the value that the next one exceeds
                with this chance is larger (the predictive law of exponential excesses, a Lomax distribution).
        """
        further = rarity + float(np.log(TOP))
        if excesses is not None:
            further = excesses * math.expm1(further / excesses)
        return self.start + self.scale * further
