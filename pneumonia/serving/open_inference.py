"""Answer the Open Inference Protocol v2 (https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol).

The input `image` is of type BYTES: each element is an encoded file, so that it passes the one decoder. With the binary
tensor extension elements follow the JSON; in JSON, which holds text alone, they are base64. Not a medical device.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

import pneumonia
from pneumonia.inference.served_model import Answer, ServedModel
from pneumonia.serving.problems import Problem, json_response
from pneumonia.serving.service import service_of

SERVER = "pneumonia"
INPUT = "image"
OUTPUTS = {"probability": "FP64", "decision": "BYTES", "code": "BYTES"}
HEADER = "Inference-Header-Content-Length"


async def server(_: Request) -> Response:
    """Name the server and the extensions that it speaks."""
    return json_response({"name": SERVER, "version": pneumonia.__version__, "extensions": ["binary_tensor_data"]})


async def live(_: Request) -> Response:
    """Say that the process lives."""
    return json_response({"live": True})


async def ready(request: Request) -> Response:
    """Say whether radiographs are answered."""
    service = service_of(request)
    if (why := service.unready()) is not None:
        raise Problem(503, "not_ready", why)
    return json_response({"ready": True})


async def model_ready(request: Request) -> Response:
    """Say whether a model answers."""
    model = _model(request)
    if (why := service_of(request).unready()) is not None:
        raise Problem(503, "not_ready", why)
    return json_response({"name": model.name, "ready": True})


async def metadata(request: Request) -> Response:
    """Describe a model's inputs and outputs."""
    model = _model(request)
    return json_response(
        {
            "name": model.name,
            "versions": [model.version],
            "platform": "openvino_onnx",
            "inputs": [{"name": INPUT, "datatype": "BYTES", "shape": [-1]}],
            "outputs": [{"name": name, "datatype": kind, "shape": [-1]} for name, kind in OUTPUTS.items()],
        }
    )


async def infer(request: Request) -> Response:
    """Answer the images of an input tensor; a refused one has no probability (NaN, null in JSON) and its code."""
    service = service_of(request)
    async with service.turn(request) as context:
        model = _model(request)
        body = b"".join([chunk async for chunk in service.uploads.stream(request)])
        document, contents = _read(request.headers.get(HEADER), body)
        if len(contents) > service.config.max_files:
            raise Problem(422, "too_many_files", f"the input has more elements than {service.config.max_files}")
        wanted = _wanted(document)
        answers = [each.answer for each in await service.answers(context, model, contents)]
        context.fields |= {"model": model.name, "version": model.version, "images": len(answers)}
    return _written(model, document, wanted, _columns(model, answers))


def _model(request: Request) -> ServedModel:
    """Return the model that a path names, which must be the one that answers."""
    model = service_of(request).serving().model
    name, version = request.path_params["model"], request.path_params.get("version", model.version)
    if (name, version) != (model.name, model.version):
        raise Problem(404, "not_found", f"version {model.version} of {model.name} answers, and no other model")
    return model


def _read(header: str | None, body: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Return a request's JSON and the elements of its input."""
    if header is not None and not (header.isascii() and header.isdecimal() and int(header) <= len(body)):
        raise _wrong(f"{HEADER} is no length within the body")
    length = len(body) if header is None else int(header)
    try:
        document = json.loads(body[:length])
        inputs = document["inputs"]
        (tensor,) = inputs
        name, kind, shape = tensor["name"], tensor["datatype"], tensor["shape"]
        parameters = tensor.get("parameters") or {}
        size = parameters.get("binary_data_size")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _wrong(f"the request is no JSON object with one input tensor, {INPUT}") from None
    if (name, kind) != (INPUT, "BYTES"):
        raise _wrong(f"the input is named {INPUT}, of datatype BYTES")
    contents = _texts(tensor.get("data")) if size is None else _elements(body[length:], size)
    if not _fits(shape, len(contents)):
        raise _wrong("the input's shape is [n] or [n,1], with n elements and n at least 1")
    return document, contents


def _elements(content: bytes, size: object) -> list[bytes]:
    """Split binary elements: each has its length before it, 4 bytes, little-endian."""
    if not isinstance(size, int) or size != len(content):
        raise _wrong("binary_data_size is not the size of what follows the JSON")
    found, at = [], 0
    while at < len(content):
        (length,) = struct.unpack_from("<I", content, at) if at + 4 <= len(content) else (len(content),)
        if at + 4 + length > len(content):
            raise _wrong("an element is longer than the input")
        found.append(content[at + 4 : at + 4 + length])
        at += 4 + length
    return found


def _texts(data: object) -> list[bytes]:
    if not isinstance(data, list):
        raise _wrong("the input has neither data nor binary_data_size")
    flat = [each[0] if isinstance(each, list) and len(each) == 1 else each for each in data]
    try:
        return [base64.b64decode(each, validate=True) for each in flat]
    except (binascii.Error, ValueError, TypeError):
        raise _wrong("in JSON each element is a file in base64; or use the binary tensor extension") from None


def _fits(shape: object, count: int) -> bool:
    if not isinstance(shape, list) or not all(type(each) is int for each in shape):
        return False
    return count > 0 and shape in ([count], [count, 1])


def _wanted(document: Mapping[str, Any]) -> dict[str, bool]:
    """Return the outputs that are asked for, and whether each is to be binary."""
    try:
        everywhere = bool((document.get("parameters") or {}).get("binary_data_output", False))
        asked = document.get("outputs") or [{"name": name} for name in OUTPUTS]
        wanted = {each["name"]: bool((each.get("parameters") or {}).get("binary_data", everywhere)) for each in asked}
    except (TypeError, KeyError, AttributeError):
        raise _wrong("outputs is a list of objects with a name, and parameters are objects") from None
    if unknown := wanted.keys() - OUTPUTS.keys():
        raise _wrong(f"there is no output {str(min(unknown, key=str))[:40]!r}; there are {', '.join(OUTPUTS)}")
    return wanted


def _columns(model: ServedModel, answers: Sequence[Answer]) -> dict[str, list[Any]]:
    return {
        "probability": [
            math.nan if answer.refused or answer.outputs is None else answer.outputs.probability for answer in answers
        ],
        "decision": [model.decision(answer) or "" for answer in answers],
        "code": [answer.assessment.code for answer in answers],
    }


def _written(
    model: ServedModel, document: Mapping[str, Any], wanted: Mapping[str, bool], columns: Mapping[str, list[Any]]
) -> Response:
    outputs, binary = [], b""
    for name, as_binary in wanted.items():
        values = columns[name]
        tensor: dict[str, Any] = {"name": name, "datatype": OUTPUTS[name], "shape": [len(values)]}
        if as_binary:
            content = _binary(OUTPUTS[name], values)
            binary += content
            tensor["parameters"] = {"binary_data_size": len(content)}
        else:
            tensor["data"] = [None if isinstance(value, float) and math.isnan(value) else value for value in values]
        outputs.append(tensor)
    answer = {"model_name": model.name, "model_version": model.version, "outputs": outputs}
    if isinstance(document.get("id"), str):
        answer["id"] = document["id"]
    if not any(wanted.values()):
        return json_response(answer)
    head = json.dumps(answer, allow_nan=False).encode()
    return Response(head + binary, media_type="application/octet-stream", headers={HEADER: str(len(head))})


def _binary(kind: str, values: Sequence[Any]) -> bytes:
    if kind == "FP64":
        return struct.pack(f"<{len(values)}d", *values)
    return b"".join(struct.pack("<I", len(value.encode())) + value.encode() for value in values)


def _wrong(words: str) -> Problem:
    return Problem(400, "request", words)
