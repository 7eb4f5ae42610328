"""Decide whether an image is a frontal chest radiograph, and how like the training images it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumonia.imaging.radiograph import Radiograph
from pneumonia.inference.engine import Outputs


@dataclass(frozen=True)
class Assessment:
    """What was found about an image.

    Attributes:
        code, reason, remedy: why it is refused; empty where it is not.
        familiar: it is like the training images.
        percentile: share of the validation images that are nearer to the training images, 0 to 100.
        findings: what was found, name to a JSON value, for the answer's `checks`.
    """

    code: str = ""
    reason: str = ""
    remedy: str = ""
    familiar: bool = True
    percentile: float = 0.0
    findings: Mapping[str, Any] | None = None


class InputCheck:
    """Compare images with the reference that was exported with a model."""

    def __init__(self, reference: Mapping[str, NDArray[np.generic]]) -> None:
        self.reference = reference

    def assess(self, image: Radiograph, outputs: Outputs) -> Assessment:
        """Assess a decoded image and what the graph computed of it."""
        return Assessment()
