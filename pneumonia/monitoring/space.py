"""Describe accepted images by what the tests compare: ranks of 31 numbers, and an embedding of a few dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumonia.monitoring.sample import Sample
from pneumonia.monitoring.settings import DriftSettings
from pneumonia.statistics.discriminant import Labelled

Floats = NDArray[np.float64]
_SPARE = 10
"""Images of the reference for each principal component."""


@dataclass(frozen=True)
class Described:
    """Accepted images.

    Attributes:
        ranked: float64 [n, 31], the margin and the image statistics.
        embedded: float64 [n, d], see `Space`.
    """

    ranked: Floats
    embedded: Floats

    def __len__(self) -> int:
        return len(self.ranked)

    def take(self, chosen: NDArray[np.intp]) -> Described:
        """Return some of the images."""
        return Described(self.ranked[chosen], self.embedded[chosen])

    def labelled(self, folds: int, weights: Floats | None = None) -> Labelled:
        """Return the embedded images in folds of images that follow one another, because those of a patient do."""
        count = len(self)
        return Labelled(
            self.embedded, np.arange(count) * folds // count, np.ones(count) if weights is None else weights
        )


@dataclass(frozen=True)
class Space:
    """Principal components of a reference's embeddings, each of variance 1.

    Square roots of the embeddings are taken first: they are means of rectified maps, and vary alike then, large and
    small. What lies beside the components is not looked at: it is smaller in the images that they were fitted to than
    in any others, so that every window would differ from the reference.

    Attributes:
        mean: [C].
        components: [C, d], divided by the deviation along each.
    """

    mean: Floats
    components: Floats

    @classmethod
    def fit(cls, embeddings: NDArray[np.float32], settings: DriftSettings) -> Space:
        """Fit the components to embeddings [m, C] of accepted images of the reference."""
        values = _roots(embeddings)
        mean = values.mean(axis=0)
        _, lengths, directions = np.linalg.svd(values - mean, full_matrices=False)
        count = max(1, min(settings.components, len(values) // _SPARE, int((lengths > 1e-6 * lengths[0]).sum())))
        deviations = np.maximum(lengths[:count] / np.sqrt(max(1, len(values) - 1)), 1e-9)
        return cls(mean, directions[:count].T / deviations)

    def embed(self, embeddings: NDArray[np.float32]) -> Floats:
        """Return embeddings [n, C] along the components, [n, d]."""
        return np.asarray((_roots(embeddings) - self.mean) @ self.components)

    def describe(self, accepted: Sample) -> Described:
        """Describe images all of which are accepted."""
        ranked = np.concatenate([accepted.margins[:, None], accepted.statistics.astype(np.float64)], axis=1)
        return Described(ranked, self.embed(accepted.embeddings))


def _roots(embeddings: NDArray[np.float32]) -> Floats:
    return np.sqrt(np.maximum(embeddings, 0).astype(np.float64))
