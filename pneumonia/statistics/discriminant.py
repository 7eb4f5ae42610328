"""Tell two samples apart by a linear discriminant, cross-validated: how well it does is how far they differ.

A classifier as a two-sample test: Lopez-Paz and Oquab, Revisiting Classifier Two-Sample Tests, ICLR 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumonia.statistics.two_samples import Area, area, placements

Floats = NDArray[np.float64]
RIDGE = 0.1
"""Share of the mean variance that is added to the covariance, so that few images suffice."""


@dataclass(frozen=True)
class Labelled:
    """Observations of one sample, with the part of the cross-validation in which each is held out.

    Attributes:
        values: [n, d].
        folds: [n], 0 to folds - 1.
        weights: [n], more than 0.
    """

    values: Floats
    folds: NDArray[np.intp]
    weights: Floats

    def moments(self, folds: int) -> Floats:
        """Return the weighted sums of 1, of the values and of their products by fold, [folds, d + 1, d + 1]."""
        extended = np.concatenate([np.ones((len(self.values), 1)), self.values], axis=1)
        found = np.empty((folds, extended.shape[1], extended.shape[1]))
        for fold in range(folds):
            chosen = extended[self.folds == fold]
            found[fold] = (chosen * self.weights[self.folds == fold, None]).T @ chosen
        return found


def domain_area(reference: Labelled, window: Labelled, folds: int) -> Area:
    """Return the AUROC with which a discriminant that did not see an image tells which sample it belongs to.

    Within each fold images are ranked among those of the same fold, because two folds' discriminants have no common
    zero. By chance it is 0.5.
    """
    directions = _directions(reference.moments(folds), window.moments(folds))
    positive, negative, weights = [], [], []
    for fold, direction in enumerate(directions):
        here, there = reference.folds == fold, window.folds == fold
        if here.any() and there.any():
            scores = window.values[there] @ direction, reference.values[here] @ direction
            found = placements(*scores, reference.weights[here])
            positive.append(found[0])
            negative.append(found[1])
            weights.append(reference.weights[here])
    return area(np.concatenate(positive), np.concatenate(negative), np.concatenate(weights))


def _directions(reference: Floats, window: Floats) -> Floats:
    """Return the discriminant that is fitted without each fold, [folds, d]; both samples weigh alike."""
    means, spreads = [], []
    for moments in (reference, window):
        kept = moments.sum(axis=0) - moments
        kept = kept / np.maximum(kept[:, :1, :1], 1e-12)
        mean = kept[:, 0, 1:]
        means.append(mean)
        spreads.append(kept[:, 1:, 1:] - mean[:, :, None] * mean[:, None, :])
    pooled = (spreads[0] + spreads[1]) / 2
    size = pooled.shape[1]
    ridge = RIDGE * np.trace(pooled, axis1=1, axis2=2) / size + 1e-9
    pooled = pooled + ridge[:, None, None] * np.eye(size)
    return np.asarray(np.linalg.solve(pooled, (means[1] - means[0])[..., None])[..., 0])
