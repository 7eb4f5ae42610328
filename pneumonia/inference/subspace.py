"""Measure how far a vector is from others: beside the directions in which they differ, and from the nearest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Arrays = Mapping[str, NDArray[np.generic]]

DIRECTIONS = 20
"""Principal components that are kept; at most a quarter of the number of vectors, and half of that of dimensions."""
_LEAST = 1e-9


@dataclass(frozen=True)
class Subspace:
    """Vectors, and the principal components of them, from which others are measured.

    Attributes:
        mean: float32 [D].
        axes: float32 [K, D], orthonormal.
        units: float32 [n, D], the vectors at length 1.
    """

    mean: Vectors
    axes: Vectors
    units: Vectors

    @classmethod
    def fit(cls, vectors: Vectors) -> Subspace:
        """Find the principal components of vectors float32 [n, D], n at least 4."""
        mean = vectors.mean(axis=0, dtype=np.float64)
        axes = np.linalg.svd(vectors - mean, full_matrices=False)[2]
        kept = max(1, min(DIRECTIONS, len(vectors) // 4, vectors.shape[1] // 2))
        return cls(mean.astype(np.float32), axes[:kept].astype(np.float32), _units(vectors))

    def beside(self, vectors: Vectors) -> Vectors:
        """Return the logarithms of the squared distances of vectors [..., D] from the principal components' plane."""
        apart = vectors - self.mean
        rest = np.square(apart).sum(axis=-1) - np.square(_products(apart, self.axes)).sum(axis=-1)
        return np.asarray(np.log(np.maximum(rest, _LEAST)), dtype=np.float32)

    def nearest(self, vectors: Vectors) -> Vectors:
        """Return the logarithms of the cosine distances of vectors [..., D] from the nearest vector."""
        cosines = _products(_units(vectors), self.units).max(axis=-1)
        return np.asarray(np.log(np.maximum(1 - cosines, _LEAST)), dtype=np.float32)

    def arrays(self, name: str) -> dict[str, NDArray[np.generic]]:
        """Return what `load` reads, but for the vectors."""
        return {f"{name}_mean": self.mean, f"{name}_axes": self.axes}

    @classmethod
    def load(cls, arrays: Arrays, name: str, vectors: Vectors) -> Subspace:
        """Read a subspace of vectors from the arrays of a reference."""
        mean, axes = (arrays[f"{name}_{part}"].astype(np.float32) for part in ("mean", "axes"))
        return cls(mean, axes, _units(vectors))


def _products(vectors: Vectors, others: Vectors) -> Vectors:
    """Return the products [..., n] of vectors [..., D] and others [n, D].

    Not by a matrix product: that would start threads of its own for each image, beside those that compute images.
    """
    return np.asarray(np.einsum("nd,...d->...n", others, vectors), dtype=np.float32)


def _units(vectors: Vectors) -> Vectors:
    lengths = np.sqrt(np.square(vectors).sum(axis=-1, keepdims=True))
    return np.asarray(vectors / np.maximum(lengths, _LEAST), dtype=np.float32)
