"""The images of a training, packed and divided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pneumonia.data.images import Images
from pneumonia.data.manifest import Manifest


@dataclass(frozen=True)
class TrainingSet:
    """The images that a network is trained on and those that it is validated on, of one packed array."""

    train: Images
    validation: Images

    @classmethod
    def of(cls, pixels: NDArray[np.uint8], manifest: Manifest) -> Self:
        """Divide a packing's images as its manifest says."""
        return cls(Images.of(pixels, manifest, "train"), Images.of(pixels, manifest, "validation"))
