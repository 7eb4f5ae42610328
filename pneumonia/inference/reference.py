"""Build the arrays that a model's input check, and later drift, compare images with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ReferenceImages:
    """Images of a split, and what the served graph computed of them.

    Attributes:
        pixels: uint8 [n, S, S], preprocessed.
        statistics: float32 [n, `pneumonia.imaging.image_statistics.COUNT`], measured before any equalisation.
        embeddings: float32 [n, C].
    """

    pixels: NDArray[np.uint8]
    statistics: NDArray[np.float32]
    embeddings: NDArray[np.float32]


def build_reference(train: ReferenceImages, validation: ReferenceImages) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of the reference, by name."""
    return {"embeddings": train.embeddings.astype(np.float16), "statistics": train.statistics}
