"""The images of a training, packed and divided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumonia.data.manifest import Manifest


@dataclass(frozen=True)
class TrainingSet:
    """Films in memory-mapped form.

    Attributes:
        pixels: uint8 [N, S, S].
        labels: int64 [N], 1 for PNEUMONIA.
        train, validation: int64 indices into all of these.
        patients: [N] keys.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    patients: Sequence[str]

    @classmethod
    def of(cls, pixels: NDArray[np.uint8], manifest: Manifest) -> TrainingSet:
        """The films of a packing, divided as its manifest says."""
        train, validation = manifest.indices("train"), manifest.indices("validation")
        return cls(pixels, manifest.labels, train, validation, manifest.patients)
