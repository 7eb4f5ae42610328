"""List the routes, with what the OpenAPI document says of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from pneumonia.inference.heat_map import VIEWS
from pneumonia.records.feedback import Feedback
from pneumonia.serving import documents, information, monitoring_routes, open_inference, predictions
from pneumonia.serving.gate import OPEN
from pneumonia.serving.monitoring_routes import MOST_HOURS
from pneumonia.serving.uploads import FIELD

Endpoint = Callable[[Request], Awaitable[Response]]
PROBLEM = "application/problem+json"
_BYTES = {"schema": {"type": "string", "format": "binary"}}
_RAW = dict.fromkeys(("image/jpeg", "image/png", "application/dicom", "application/octet-stream"), _BYTES)
_WORDS = {
    400: "The body is incomplete or no form",
    401: "No valid API key",
    404: "There is no such thing",
    413: "The body is too large",
    415: "Content of another type",
    421: "Without keys, only this machine's own name is answered to",
    422: "The image is refused, or the request cannot be understood",
    429: "The API key has made too many requests",
    500: "The service failed",
    503: "No champion, overloaded, or out of time",
}
_UPLOADED = (400, 413, 415, 422, 503)


def _form(*, several: bool) -> dict[str, Any]:
    files: dict[str, Any] = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1}
    if not several:
        files["maxItems"] = 1
    schema = {"type": "object", "properties": {FIELD: files}, "required": [FIELD], "additionalProperties": False}
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}, **_RAW}}


def _parameter(name: str, where: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": where, "required": where == "path", "schema": {"type": "string", **schema}}


@dataclass(frozen=True)
class Route:
    """A route.

    Attributes:
        path, method, endpoint: what is called for what.
        answer: of status 200: a document, or the content type of bytes.
        problems: statuses of problem documents, beside those that every route may have.
        body: of the request, as OpenAPI describes it.
        parameters: of the path and the query.
        shown: in the OpenAPI document.
    """

    path: str
    endpoint: Endpoint
    answer: type[BaseModel] | str
    method: str = "GET"
    problems: tuple[int, ...] = ()
    body: Mapping[str, Any] | None = None
    parameters: tuple[Mapping[str, Any], ...] = ()
    shown: bool = True
    tag: str = "radiographs"

    def described(self, *, keys: bool) -> dict[str, Any]:
        """Return what `FastAPI.add_api_route` takes.

        Args:
            keys: API keys are asked for.
        """
        open_inference_route = self.path.startswith("/v2")
        usual = (401, 429) if keys and self.path not in OPEN else () if keys else (421,)
        error = documents.InferenceError if open_inference_route else None
        responses: dict[int | str, dict[str, Any]] = {200: self._answer()}
        for status in sorted({*self.problems, *usual, 500}):
            model = error or (documents.RefusalDocument if status == 422 else documents.ProblemDocument)
            kind = "application/json" if open_inference_route else PROBLEM
            reference = {"$ref": f"#/components/schemas/{model.__name__}"}
            responses[status] = {"description": _WORDS[status], "content": {kind: {"schema": reference}}}
        extra: dict[str, Any] = {}
        if self.parameters:
            extra["parameters"] = [dict(each) for each in self.parameters]
        if self.body is not None:
            extra["requestBody"] = dict(self.body)
        if keys and self.path not in OPEN:
            extra["security"] = [{"bearer": []}, {"header": []}]
        return {
            "methods": [self.method],
            "response_class": Response,
            "response_model": None,
            "responses": responses,
            "openapi_extra": extra,
            "include_in_schema": self.shown,
            "tags": [self.tag],
            "summary": next(iter((self.endpoint.__doc__ or "").splitlines()), ""),
            "operation_id": f"{self.method.lower()}{self.path.replace('/', '_').replace('{', '').replace('}', '')}",
        }

    def _answer(self) -> dict[str, Any]:
        if isinstance(self.answer, str):
            return {"description": "Done", "content": {self.answer: _BYTES}}
        reference = {"$ref": f"#/components/schemas/{self.answer.__name__}"}
        return {"description": "Done", "content": {"application/json": {"schema": reference}}}


_MODEL = _parameter("model", "path", minLength=1)
_VERSION = _parameter("version", "path", minLength=1)
_INFER = {
    "required": True,
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/InferenceRequest"}}},
}
_FEEDBACK = {
    "required": True,
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/FeedbackRequest"}}},
}
_OIP, _SERVICE, _MONITORING = "Open Inference Protocol", "service", "monitoring"


def _of_model(path: str, parameters: tuple[Mapping[str, Any], ...]) -> tuple[Route, ...]:
    return (
        Route(path, open_inference.metadata, documents.ModelMetadata, "GET", (404, 503), None, parameters, tag=_OIP),
        Route(
            f"{path}/ready", open_inference.model_ready, documents.ModelReady, "GET", (404, 503), None, parameters,
            tag=_OIP,
        ),
        Route(
            f"{path}/infer", open_inference.infer, documents.InferenceResponse, "POST", (400, 404, 413, 415, 422, 503),
            _INFER, parameters, tag=_OIP,
        ),
    )  # fmt: skip


ROUTES: tuple[Route, ...] = (
    Route("/v1/predict", predictions.predict, documents.Predictions, "POST", _UPLOADED, _form(several=True)),
    Route(
        "/v1/explain", predictions.explain, "image/png", "POST", _UPLOADED, _form(several=False),
        (_parameter("view", "query", enum=list(VIEWS), default="overlay"),),
    ),
    Route("/v1/model", information.model_card, documents.Card, problems=(503,)),
    Route("/dossier", information.dossier, "text/html", problems=(404, 503)),
    Route("/v1/samples", information.samples, documents.Samples, problems=(503,)),
    Route(
        "/v1/samples/{name}", information.sample, "image/png", problems=(404, 503),
        parameters=(_parameter("name", "path", minLength=1),),
    ),
    Route(
        "/v1/feedback", monitoring_routes.give_feedback, Feedback, "POST", (404, 413, 422, 503), _FEEDBACK,
        tag=_MONITORING,
    ),
    Route(
        "/v1/monitor", monitoring_routes.monitor, monitoring_routes.MonitorDocument, problems=(404, 422, 503),
        parameters=(
            {**_parameter("hours", "query"), "schema": {"type": "integer", "minimum": 1, "maximum": MOST_HOURS}},
        ),
        tag=_MONITORING,
    ),
    Route("/healthz", information.healthz, documents.Alive, tag=_SERVICE),
    Route("/readyz", information.readyz, documents.Ready, problems=(503,), tag=_SERVICE),
    Route("/metrics", information.prometheus, "text/plain", problems=(404,), tag=_SERVICE),
    Route("/v2", open_inference.server, documents.ServerMetadata, tag=_OIP),
    Route("/v2/health/live", open_inference.live, documents.Live, tag=_OIP),
    Route("/v2/health/ready", open_inference.ready, documents.ServerReady, problems=(503,), tag=_OIP),
    *_of_model("/v2/models/{model}", (_MODEL,)),
    *_of_model("/v2/models/{model}/versions/{version}", (_MODEL, _VERSION)),
    Route("/monitor", monitoring_routes.page, "text/html", shown=False),
    Route("/", information.page, "text/html", shown=False),
    Route("/openapi.json", information.openapi, "application/json", shown=False),
    Route("/docs", information.documentation, "text/html", shown=False),
    Route("/docs/{name}", information.documentation_file, "text/javascript", shown=False),
)  # fmt: skip
