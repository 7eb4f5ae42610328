"""Divide packed images into training and validation images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pneumonia.data.images import Images
from pneumonia.data.manifest import Manifest


@dataclass(frozen=True)
class TrainingSet:
    """The training images and the validation images of one packed array."""

    train: Images
    validation: Images

    @classmethod
    def of(cls, pixels: NDArray[np.uint8], manifest: Manifest) -> Self:
        """Divide packed images by the splits in their manifest."""
        return cls(Images.of(pixels, manifest, "train"), Images.of(pixels, manifest, "validation"))
