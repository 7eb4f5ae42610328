"""The record that travels with a model: what a consumer of its weights must know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError, safe_open

from pneumonia.config.schema import CLASSES, PreprocessConfig
from pneumonia.errors import DataError

RECORD_FORMAT = 1


class ModelRecord(BaseModel):
    """What a consumer of the weights has to know to use them as they were judged.

    `threshold` is the probability of PNEUMONIA from which a film is called PNEUMONIA; `calibration` is the operating
    point that it comes from (see `pneumonia.modelling.calibration`), which is already in the weights; `mirror` says
    that the network is used as `FlipAveraged`. Digests are sha256 in hex.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = RECORD_FORMAT
    name: str
    phantom: bool
    classes: tuple[str, ...] = CLASSES
    preprocess: PreprocessConfig
    threshold: float
    calibration: dict[str, float] | None = None
    mirror: bool = False
    weights_digest: str
    data_digest: str
    split_digest: str
    dvc_md5: str | None = None
    config: dict[str, Any]
    library_version: str

    def is_model(self, other: ModelRecord) -> bool:
        """Whether both are one model: the same weights, used in the same way."""
        return all(
            getattr(self, name) == getattr(other, name)
            for name in ("weights_digest", "preprocess", "mirror", "threshold")
        )


def first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")


def read_record(path: Path) -> ModelRecord:
    """Read only the record of a weights file.

    Raises:
        DataError: no safetensors file, or one without a record of this project.
    """
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
        record = ModelRecord.model_validate(json.loads(metadata["record"]))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); name a model's .safetensors") from None
    except (SafetensorError, KeyError, ValueError) as error:
        raise DataError(
            f"{path}: not a model of this project ({first_line(error)}); train one with `python flows/pipeline.py`"
        ) from None
    if record.format != RECORD_FORMAT:
        raise DataError(f"{path}: the record has format {record.format}, this version reads {RECORD_FORMAT}")
    return record


class OperatingPoint(BaseModel):
    """Where a network is to be used, and what it came to there.

    Attributes:
        temperature, bias: the calibrated log odds of PNEUMONIA are the network's divided by the temperature, plus the
            bias (Platt 1999, "Probabilistic Outputs for Support Vector Machines").
        threshold: probability of PNEUMONIA after that, 0 to 1, from which a film is called PNEUMONIA.
        sensitivity, specificity, auroc: on the changed validation films at this point, all draws together; the AUROC
            is the mean over draws.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float
    bias: float
    threshold: float
    sensitivity: float
    specificity: float
    auroc: float


WEIGHTS_ARTIFACT = "weights/model.safetensors"

"""The run's artifact that holds weights and record."""
