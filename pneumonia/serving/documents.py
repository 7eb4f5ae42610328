"""Describe the JSON documents of the API, for its OpenAPI document."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pneumonia.records.evaluation import Metric, OutsideMetrics
from pneumonia.records.export import Agreement


class _Described(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Timing(_Described):
    """Milliseconds; parts that were not reached are left out."""

    decode: float | None = None
    compute: float | None = None
    check: float | None = None
    total: float = Field(description="From the request's header to this answer, with waiting")


class _Image(_Described):
    file: str | None = Field(None, description="Name of the upload, where it has one")
    checks: dict[str, Any] = Field(description="What was found about the input")
    model: str
    version: str
    weights_digest: str = Field(description="sha256 in hex")
    precision: Literal["fp32", "int8"]
    phantom: bool = Field(description="The model was trained on phantoms (synthetic images)")
    timing: Timing
    event: str | None = Field(None, description="Id of the recorded event, for /v1/feedback")


class ImageAnswer(_Image):
    """A probability."""

    probability: float = Field(ge=0, le=1, description="Of PNEUMONIA")
    decision: Literal["NORMAL", "PNEUMONIA"] = Field(description="At the threshold")
    threshold: float
    familiar: bool = Field(description="The image is like those that the model learnt from")
    distance_percentile: float = Field(
        ge=0, le=100, description="Share of the validation images that are nearer to the training images"
    )
    notes: list[str] | None = Field(None, description="What the file left open, and how it was read")
    explanation: str = Field(description="Where the heat map is had: POST the same file there")


class ImageRefusal(_Image):
    """A refusal."""

    refused: Literal[True]
    code: str = Field(description="Machine-readable reason: docs/serving.md lists them")
    reason: str


class ModelName(_Described):
    """The model that answered all images of a request."""

    name: str
    version: str
    phantom: bool
    weights_digest: str


class Predictions(_Described):
    """The answers to a request's files, in their order."""

    results: list[ImageAnswer | ImageRefusal]
    request_id: str
    notice: str
    model: ModelName


class ProblemDocument(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str


class RefusalDocument(ProblemDocument):
    """The problem document of a refused image, or of a form that cannot be used."""

    reason: str | None = None
    checks: dict[str, Any] | None = None
    event: str | None = None
    notice: str | None = None
    model: str | None = None
    version: str | None = None


class Training(_Described):
    """What the model was trained on."""

    data_digest: str
    dvc_md5: str | None
    patients: int | None
    profile: str | None


class Promotion(_Described):
    """The move that made the model champion."""

    who: str
    when: str
    why: str
    from_version: str | None


class Card(_Described):
    """The card of the model that answers."""

    model: str
    version: str
    phantom: bool
    notice: str
    warnings: list[str]
    threshold: float
    measured_on: str
    metrics: dict[str, Metric]
    outside: list[OutsideMetrics]
    training: Training
    preprocess: dict[str, Any]
    precision: Literal["fp32", "int8"]
    agreement: Agreement
    digests: dict[str, str]
    promoted: Promotion | None
    limits: list[str]
    dossier: bool


class Sample(_Described):
    """A sample image."""

    name: str
    url: str


class Samples(_Described):
    """Sample images; none where the model was trained on radiographs."""

    samples: list[Sample]


class Alive(_Described):
    """The process lives."""

    status: Literal["alive"]
    version: str


class Ready(_Described):
    """Radiographs are answered."""

    status: Literal["ready"]
    model: str
    version: str


class ServerMetadata(_Described):
    """Name of the server."""

    name: str
    version: str
    extensions: list[str]


class Live(_Described):
    """The process lives."""

    live: bool


class ServerReady(_Described):
    """Radiographs are answered."""

    ready: bool


class ModelReady(_Described):
    """A model answers."""

    name: str
    ready: bool


class ModelMetadata(_Described):
    """A model's inputs and outputs."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class TensorMetadata(_Described):
    """A tensor of unknown length."""

    name: str
    datatype: str
    shape: list[int]


class InferenceError(_Described):
    """An error of the Open Inference Protocol."""

    error: str


class InferenceTensor(BaseModel):
    """A tensor; its data are elsewhere in the body where its parameters name a binary size."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] | None = None
    data: list[Any] | None = None


class InferenceRequest(BaseModel):
    """A request of the Open Inference Protocol: one input, `image`, of encoded files."""

    id: str | None = None
    inputs: list[InferenceTensor]
    outputs: list[dict[str, Any]] | None = None
    parameters: dict[str, Any] | None = None


class InferenceResponse(BaseModel):
    """An answer of the Open Inference Protocol."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[InferenceTensor]


DOCUMENTS: tuple[type[BaseModel], ...] = (
    Predictions, Card, Samples, Alive, Ready, ProblemDocument, RefusalDocument, ServerMetadata, Live, ServerReady,
    ModelReady, ModelMetadata, InferenceError, InferenceRequest, InferenceResponse,
)  # fmt: skip
"""The documents that routes refer to by name."""
