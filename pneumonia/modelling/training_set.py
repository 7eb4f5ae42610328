"""Divide packed images into training and validation images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pneumonia.data.images import Images
from pneumonia.data.manifest import Manifest
from pneumonia.errors import DataError


@dataclass(frozen=True)
class TrainingSet:
    """The training images and the validation images of one packed array."""

    train: Images
    validation: Images

    @classmethod
    def of(cls, pixels: NDArray[np.uint8], manifest: Manifest) -> Self:
        """Divide packed images by the splits in their manifest."""
        return cls(Images.of(pixels, manifest, "train"), Images.of(pixels, manifest, "validation"))

    def check(self) -> None:
        """Check that both splits can be used.

        Raises:
            DataError: one has not both classes.
        """
        for name, images in (("training", self.train), ("validation", self.validation)):
            if len(np.unique(images.labels)) < 2:
                raise DataError(
                    f"the {name} split has {len(images)} images and not both classes; "
                    "give more images, or raise data.patient_fraction or data.validation_fraction"
                )
