"""Hold images as drift sees them: in time order, as arrays, without a pixel."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOREIGN = ("not_a_radiograph", "not_frontal_chest", "modality", "body_part", "view", "blank")
"""Codes of refusal that say a picture is no frontal chest radiograph (`pneumonia.imaging.refusal.Code`)."""
UNKNOWN = -1
"""Label of an image that nobody has labelled."""


@dataclass(frozen=True)
class Sample:
    """Images in time order.

    Attributes:
        accepted: bool [n], the image has a probability.
        foreign: bool [n], refused with one of the codes `FOREIGN`.
        familiar: bool [n], see `pneumonia.inference.input_check`.
        margins: float64 [n], logit of PNEUMONIA less that of NORMAL; NaN where not accepted.
        embeddings: float32 [n, C]; any value where not accepted.
        statistics: float32 [n, 30], `pneumonia.imaging.image_statistics.STATISTICS`; likewise.
        labels: int8 [n], 1 for PNEUMONIA, 0 for NORMAL, `UNKNOWN`.
        patients: int64 [n], a number for each patient; None where nobody knows them.
        threshold: probability from which an image is classified as PNEUMONIA.
    """

    accepted: NDArray[np.bool_]
    foreign: NDArray[np.bool_]
    familiar: NDArray[np.bool_]
    margins: NDArray[np.float64]
    embeddings: NDArray[np.float32]
    statistics: NDArray[np.float32]
    labels: NDArray[np.int8]
    patients: NDArray[np.int64] | None
    threshold: float

    def __post_init__(self) -> None:
        """Check that all arrays are of the same images.

        Raises:
            ValueError: they are not.
        """
        lengths = {name: len(array) for name, array in self.arrays().items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"arrays of different images: {lengths}")
        if not np.isfinite(self.margins[self.accepted]).all():
            raise ValueError("margins: an accepted image without one")

    def __len__(self) -> int:
        return len(self.accepted)

    @classmethod
    def of_reference(cls, arrays: Mapping[str, NDArray[np.generic]], threshold: float) -> Sample:
        """Read the images of a reference that stand for the place of use.

        Args:
            arrays: of `pneumonia.inference.reference.build_reference`.
            threshold: of the model's record.

        Raises:
            KeyError: the reference holds no validation images, as that of an older version.
        """
        here = arrays["validation_place"].astype(bool)
        found = {key.removeprefix("validation_"): array[here] for key, array in arrays.items() if key in _KEYS}
        refused = found["refused"].astype(bool)
        logits = found["logits"].astype(np.float64)
        return cls(
            accepted=~refused,
            foreign=refused,
            familiar=found["familiar"].astype(bool),
            margins=np.where(refused, np.nan, logits[:, 1] - logits[:, 0]),
            embeddings=found["embeddings"].astype(np.float32),
            statistics=found["statistics"].astype(np.float32),
            labels=found["labels"].astype(np.int8),
            patients=found["patients"].astype(np.int64),
            threshold=threshold,
        )

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays by name."""
        names = ("accepted", "foreign", "familiar", "margins", "embeddings", "statistics", "labels")
        found: dict[str, NDArray[np.generic]] = {name: getattr(self, name) for name in names}
        return found if self.patients is None else {**found, "patients": self.patients}

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Sample:
        """Return some of the images, by a mask or by their positions."""
        taken: dict[str, Any] = {name: array[chosen] for name, array in self.arrays().items()}
        return replace(self, **taken)

    def last(self, count: int) -> Sample:
        """Return the last images, at most so many."""
        return self.take(np.arange(max(0, len(self) - count), len(self)))

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Probabilities of PNEUMONIA of the accepted images, as the model gave them."""
        return np.asarray(1 / (1 + np.exp(-self.margins[self.accepted])), dtype=np.float64)

    @property
    def decided(self) -> NDArray[np.bool_]:
        """Which images are classified as PNEUMONIA, bool [n]; none that is not accepted."""
        with np.errstate(divide="ignore"):
            odds = np.log(self.threshold) - np.log1p(-self.threshold)
        return np.asarray(self.accepted & (np.nan_to_num(self.margins) >= odds), dtype=np.bool_)

    def digest(self) -> str:
        """Return the sha256, in hex, of all arrays."""
        hashed = hashlib.sha256(repr(self.threshold).encode())
        for name, array in sorted(self.arrays().items()):
            hashed.update(f"{name} {array.dtype} {array.shape}".encode())
            hashed.update(np.ascontiguousarray(array).tobytes())
        return hashed.hexdigest()


_KEYS = tuple(
    f"validation_{name}" for name in ("refused", "familiar", "logits", "embeddings", "statistics", "labels", "patients")
)
