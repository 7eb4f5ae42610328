"""Write the OpenAPI document."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from pneumonia.records.feedback import Feedback
from pneumonia.serving.documents import DOCUMENTS
from pneumonia.serving.monitoring_routes import FeedbackRequest, MonitorDocument

KEYS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def describe(app: FastAPI, *, keys: bool) -> dict[str, Any]:
    """Return the OpenAPI document of the routes.

    The routes read their requests themselves, because a body that is one file of any size is no parameter; so they say
    what they take and give, and this adds the documents that they name.

    Args:
        app: with all routes.
        keys: API keys are asked for.
    """
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
    )
    shown: tuple[type[BaseModel], ...] = (*DOCUMENTS, FeedbackRequest, Feedback, MonitorDocument)
    _, schemas = models_json_schema(
        [(each, "validation") for each in shown], ref_template="#/components/schemas/{model}"
    )
    components = document.setdefault("components", {})
    components["schemas"] = components.get("schemas", {}) | schemas["$defs"]
    if keys:
        components["securitySchemes"] = KEYS
    return document
