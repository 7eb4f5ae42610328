"""Select rows of a packed array, with their labels and patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pneumonia.data.manifest import Manifest


@dataclass(frozen=True)
class Images:
    """Some images of a packed array.

    Attributes:
        pixels: uint8 [N, S, S], the whole array; usually memory-mapped.
        rows: int64 [n], the rows of `pixels` that these are.
        labels: int64 [n], 1 for PNEUMONIA.
        patients: [n] keys.
    """

    pixels: NDArray[np.uint8]
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    patients: Sequence[str]

    @classmethod
    def of(cls, pixels: NDArray[np.uint8], manifest: Manifest, split: str) -> Self:
        """Return the images of a split, in the manifest's order."""
        rows, patients = manifest.indices(split), manifest.patients
        return cls(pixels, rows, manifest.labels[rows], [patients[row] for row in rows])

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, chosen: NDArray[np.integer]) -> Images:
        """Return a selection of these images, by their positions in `rows`."""
        return Images(
            self.pixels, self.rows[chosen], self.labels[chosen], [self.patients[position] for position in chosen]
        )
