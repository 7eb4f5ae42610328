"""The record that is stored with a model: what a consumer of its weights must know."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from pneumonia.config.schema import CLASSES, PreprocessConfig
from pneumonia.errors import DataError
from pneumonia.records.base import Document

RECORD_FORMAT = 2
WEIGHTS_ARTIFACT = "weights/model.safetensors"
"""Path of the run's artifact that holds weights and record."""


class OperatingPoint(Document):
    """The calibration and threshold that a network is used at, and its metrics there.

    Attributes:
        temperature, bias: the calibrated log odds of PNEUMONIA are the network's divided by the temperature, plus the
            bias (Platt 1999, "Probabilistic Outputs for Support Vector Machines").
        threshold: calibrated probability of PNEUMONIA, 0 to 1, from which an image is classified as PNEUMONIA.
        sensitivity, specificity, auroc: on the augmented validation images at this point, over all draws; the AUROC is
            the mean over draws. None where the point was given.
    """

    temperature: float
    bias: float
    threshold: float
    sensitivity: float | None = None
    specificity: float | None = None
    auroc: float | None = None


class ModelRecord(Document):
    """What a consumer of the weights must know to use them as they were evaluated.

    Attributes:
        architecture: one of `pneumonia.config.schema.ARCHITECTURES`.
        threshold: probability of PNEUMONIA from which an image is classified as PNEUMONIA.
        calibration: the operating point that the threshold comes from; its calibration is already in the weights.
        flip_tta: the logits of an image and of its mirror image are averaged.
        weights_digest, data_digest, split_digest: sha256 in hex.
        computed_with: every device, precision and number of threads that the training was computed with; where there
            are several, another training with these settings does not give the same bits. Empty: not recorded.
        training_patients: patients in the training set; None: not recorded.
    """

    format: Literal[2] = 2
    name: str
    phantom: bool
    architecture: str
    classes: tuple[str, ...] = CLASSES
    preprocess: PreprocessConfig
    threshold: float
    calibration: dict[str, float] | None = None
    flip_tta: bool = False
    weights_digest: str
    data_digest: str
    split_digest: str
    dvc_md5: str | None = None
    config: dict[str, Any]
    library_version: str
    computed_with: tuple[str, ...] = ()
    training_patients: int | None = None

    def model_digest(self) -> str:
        """Return the sha256, in hex, of the weights' digest and of how they are used."""
        used = {"weights_digest", "architecture", "preprocess", "flip_tta", "threshold"}
        return hashlib.sha256(self.model_dump_json(include=used).encode()).hexdigest()

    def is_same_model(self, other: ModelRecord) -> bool:
        """Return whether both describe one model: the same weights, used in the same way."""
        return self.model_digest() == other.model_digest()


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, empty where there is none."""
    return next(iter(str(error).splitlines()), "")


def read_record(path: Path) -> ModelRecord:
    """Read the record of a weights file, of this format or an earlier one; loads neither tensors nor torch.

    Raises:
        DataError: not a safetensors file, or one without a record of this project.
    """
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
        found = json.loads(metadata["record"])
        if found["format"] not in (1, RECORD_FORMAT):
            raise DataError(
                f"{path}: the record has format {found['format']}, this version reads 1 and {RECORD_FORMAT}; update it"
            )
        return ModelRecord.model_validate(_upgraded(found))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); name a model's .safetensors") from None
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise DataError(
            f"{path}: not a model of this project ({first_line(error)}); train one with `python flows/pipeline.py`"
        ) from None


def _upgraded(found: dict[str, Any]) -> dict[str, Any]:
    """Convert a record of format 1, which had one architecture and named flip_tta mirror, to format 2."""
    if found["format"] == RECORD_FORMAT:
        return found
    rest = {key: value for key, value in found.items() if key != "mirror"}
    return rest | {"format": RECORD_FORMAT, "architecture": "resnet18", "flip_tta": found.get("mirror", False)}
