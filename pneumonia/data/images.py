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
        patients: [n] keys; one key for patients that share an identical image.
        contents: [n] digests of the pixels; None where they are not known.
    """

    pixels: NDArray[np.uint8]
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    patients: Sequence[str]
    contents: Sequence[str] | None = None

    @classmethod
    def of(cls, pixels: NDArray[np.uint8], manifest: Manifest, split: str) -> Self:
        """Return the images of a split, in the manifest's order."""
        rows, patients = manifest.indices(split), manifest.groups
        contents = [manifest.entries[row].pixels_sha256 for row in rows]
        return cls(pixels, rows, manifest.labels[rows], [patients[row] for row in rows], contents)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, chosen: NDArray[np.integer]) -> Images:
        """Return a selection of these images, by their positions in `rows`."""
        patients = [self.patients[position] for position in chosen]
        contents = None if self.contents is None else [self.contents[position] for position in chosen]
        return Images(self.pixels, self.rows[chosen], self.labels[chosen], patients, contents)

    @property
    def copies(self) -> NDArray[np.bool_]:
        """Which images repeat an earlier one of the same class, bool [n]; a bootstrap draws those once."""
        return repeated(self.contents, self.labels)


def repeated(contents: Sequence[str] | None, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which images have the content and the label of an earlier one, bool [n]; all False without contents."""
    seen: set[tuple[str, int]] = set()
    found = np.zeros(len(labels), dtype=np.bool_)
    for position, key in enumerate(zip(contents or (), labels.tolist(), strict=contents is not None)):
        found[position] = bool(key[0]) and key in seen
        seen.add(key)
    return found
