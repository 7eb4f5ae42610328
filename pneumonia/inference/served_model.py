"""Apply an exported model to a file's content: decode, check, compute, answer. Not a medical device."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from pneumonia.config.schema import CLASSES
from pneumonia.config.service import ServingConfig
from pneumonia.imaging.radiograph import Radiograph, UnreadableRadiograph, read_bytes
from pneumonia.inference.engine import Engine, Outputs
from pneumonia.inference.input_check import Assessment, InputCheck
from pneumonia.records.export import (
    EXPORT_RECORD,
    GRAPHS,
    REFERENCE,
    ExportRecord,
    Precision,
    read_model_record,
)

NOTICE = "Not a medical device: for research and teaching, never for a decision about a patient."
PHANTOM_NOTICE = "Trained on phantoms (synthetic images): its answers about real radiographs mean nothing."
HEAD, KNOWN = "head", "sample_"
"""Key of the last layer's weights, float32 [classes, C], in the reference, and the start of the keys of
sample pixels and of the logits that each graph computed of them when it was exported."""


@dataclass(frozen=True)
class Answer:
    """What a model answers about one image: a probability, or a refusal.

    Attributes:
        image: decoded, and corrected where it was a negative; None where the file cannot be read.
        outputs: of the graph; None where the file is refused before it is computed.
        assessment: of the input check; its code is empty where the image is accepted.
        milliseconds: of each part, name to ms.
        size: of the file, bytes.
    """

    image: Radiograph | None
    outputs: Outputs | None
    assessment: Assessment
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    size: int = 0

    @property
    def refused(self) -> bool:
        """Whether there is no probability."""
        return bool(self.assessment.code)


class ServedModel:
    """An exported model in memory; `answer` may be called by several threads at a time.

    Attributes:
        name, version: registered name and version; the version is ``run:<id>`` or ``sha256:<12 digits>`` otherwise.
        record: of the model.
        export: of the exported graphs.
        precision: of the graph that is run.
        head: weights of the last layer, float32 [classes, C].
        reference_probabilities: float32 [m], of the validation images; empty for a model without a reference.
        known: ``sample_pixels`` uint8 [n, S, S], ``sample_logits_<precision>`` float32 [n, classes].
    """

    def __init__(self, folder: Path, name: str, version: str, config: ServingConfig) -> None:
        """Load the files of a verified folder (`pneumonia.registry.mirror`).

        Raises:
            DataError: a graph cannot be run.
        """
        self.name, self.version = name, version
        self.folder = folder
        self.record = read_model_record(folder)
        self.export = ExportRecord.model_validate_json((folder / EXPORT_RECORD).read_text(encoding="utf-8"))
        self.precision: Precision = self.export.precision if config.precision == "auto" else config.precision
        reference = load_file(folder / REFERENCE)
        self.head: NDArray[np.float32] = reference[HEAD]
        logits = reference.get("validation_logits")
        self.reference_probabilities: NDArray[np.float32] = (
            np.zeros(0, np.float32) if logits is None else 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
        )
        self.known = {key: array for key, array in reference.items() if key.startswith(KNOWN)}
        self._max_pixels = config.max_pixels
        self._check = InputCheck(reference, self.record.preprocess) if config.check_input else None
        self._engine = Engine(folder / GRAPHS[self.precision], self.record.preprocess.size, config.threads)

    @property
    def threads(self) -> int:
        """Images that are computed at a time."""
        return self._engine.threads

    @property
    def checks_input(self) -> bool:
        """Whether pictures that are no frontal chest radiographs are refused."""
        return self._check is not None

    @property
    def compares(self) -> bool:
        """Whether pictures are compared with training images, without which few foreign ones are noticed."""
        return self._check is not None and self._check.compares

    def answer(self, content: bytes, name: str = "<bytes>") -> Answer:
        """Decode a file's content, compute it, and check that it is what the model was made for."""
        took: dict[str, float] = {}
        try:
            with _timed(took, "decode"):
                image = read_bytes(content, self.record.preprocess, name, self._max_pixels)
        except UnreadableRadiograph as error:
            return refusal(error, took)
        if self._check is None:
            with _timed(took, "compute"):
                return Answer(image, self._engine.run(image.pixels), Assessment(), took, len(content))
        with _timed(took, "check"):
            prepared = self._check.prepare(image)
        if prepared.assessment.code:
            return Answer(prepared.image, None, prepared.assessment, took, len(content))
        with _timed(took, "compute"):
            outputs = self._engine.run(prepared.image.pixels)
        with _timed(took, "check"):
            assessment = self._check.assess(prepared, outputs)
        return Answer(prepared.image, outputs, assessment, took, len(content))

    def run(self, pixels: NDArray[np.uint8]) -> Outputs:
        """Compute pixels uint8 [S, S] that are preprocessed as the record says."""
        return self._engine.run(pixels)

    def decision(self, answer: Answer) -> str | None:
        """Return the class of an answer at the record's threshold; None for a refusal."""
        if answer.outputs is None or answer.refused:
            return None
        return CLASSES[int(answer.outputs.probability >= self.record.threshold)]

    def document(self, answer: Answer) -> dict[str, Any]:
        """Return an answer as a JSON object, the same in every command and in the service."""
        found = answer.assessment
        checks = dict(found.findings)
        model = {
            "model": self.name,
            "version": self.version,
            "weights_digest": self.record.weights_digest,
            "precision": self.precision,
            "phantom": self.record.phantom,
        }
        if answer.outputs is None or answer.refused:
            reason = f"{found.reason}; {found.remedy}" if found.remedy else found.reason
            return {"refused": True, "code": found.code, "reason": reason, "checks": checks} | model
        said = (*(answer.image.notes if answer.image is not None else ()), *found.notes)
        notes = {"notes": list(said)} if said else {}
        return {
            "probability": answer.outputs.probability,
            "decision": self.decision(answer),
            "threshold": self.record.threshold,
            "familiar": found.familiar,
            "distance_percentile": found.percentile,
            "checks": checks,
            **notes,
            **model,
        }


def refusal(error: UnreadableRadiograph, took: Mapping[str, float] | None = None) -> Answer:
    """Return the answer about a file that cannot be read."""
    return Answer(None, None, Assessment(error.code, error.reason, error.remedy), took or {})


@contextmanager
def _timed(took: dict[str, float], part: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    took[part] = round(took.get(part, 0.0) + 1000 * (time.perf_counter() - began), 2)
