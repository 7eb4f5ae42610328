"""The record of an exported model: its files by digest, which precision is served, and how well the graphs agree."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from pneumonia.records.base import Document
from pneumonia.records.model import ModelRecord

EXPORT_FOLDER = "export"
"""Path of the run's artifact folder that holds the exported model."""
EXPORT_RECORD, MODEL_RECORD = "export.json", "record.json"
GRAPHS: dict[str, str] = {"fp32": "model.fp32.onnx", "int8": "model.int8.onnx"}
REFERENCE = "reference.safetensors"
FILES = (MODEL_RECORD, *GRAPHS.values(), REFERENCE)
INPUT = "pixels"
OUTPUTS = ("logits", "feature_map", "embedding")
Precision = Literal["fp32", "int8"]


def read_model_record(folder: Path) -> ModelRecord:
    """Read the model's record from a folder of an exported model.

    Raises:
        OSError: it is not there.
        ValueError: it is no record.
    """
    return ModelRecord.model_validate_json((folder / MODEL_RECORD).read_text(encoding="utf-8"))


class Agreement(Document):
    """How far the graphs agree, on validation images.

    Attributes:
        images: number of validation images on which fp32 and int8 were compared.
        fp32_images, fp32_difference: number of these on which the fp32 graph was held against the network itself, and
            the largest difference of a logit.
        int8_labels: share of the images that both graphs classify alike, at the record's threshold.
        int8_auroc_difference: AUROC of the int8 graph minus that of the fp32 graph.
    """

    images: int
    fp32_images: int
    fp32_difference: float
    int8_labels: float
    int8_auroc_difference: float


class ExportRecord(Document):
    """What a consumer of the exported model must know.

    Attributes:
        model_digest: of the model's record (`pneumonia.records.model.ModelRecord.model_digest`).
        files: sha256 in hex of each of `FILES`.
        precision: of the graph that is served by default.
        reason: why, in words.
        agreement: measured when the model was exported.
        code: digest of the code that exports.
        software: versions of the packages that exported, name to version.
    """

    format: Literal[1] = 1
    model_digest: str
    files: dict[str, str]
    precision: Precision
    reason: str
    agreement: Agreement
    code: str
    software: dict[str, str]

    def digest(self) -> str:
        """Return the sha256, in hex, of this record, which names every other file by its digest."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()
