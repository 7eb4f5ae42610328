"""Build the ASGI application."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

import pneumonia
from pneumonia.inference.served_model import NOTICE
from pneumonia.serving.api_description import describe
from pneumonia.serving.gate import Gate
from pneumonia.serving.information import PAGE
from pneumonia.serving.problems import Problem
from pneumonia.serving.routes import ROUTES
from pneumonia.serving.service import Service


def create_app(service: Service) -> FastAPI:
    """Build the application of a service.

    Args:
        service: whose model answers; the caller starts and stops its parts.
    """
    app = FastAPI(
        title="Pneumonia on chest radiographs",
        summary="Probability of pneumonia on frontal chest radiographs of children",
        description=NOTICE,
        version=pneumonia.__version__,
        openapi_url=None,  # among the routes, as everything
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={HTTPException: _as_problem},
    )
    app.state.service = service
    for route in ROUTES:
        app.add_api_route(route.path, route.endpoint, **route.described(keys=bool(service.keys)))
    app.mount("/static", StaticFiles(directory=PAGE), name="static")
    app.add_middleware(Gate, service=service)
    document = describe(app, keys=bool(service.keys))
    app.openapi = lambda: document  # type: ignore[method-assign]
    return app


async def _as_problem(_: Request, error: Any) -> Response:
    """Turn an error of the framework, such as an unknown route, into a problem."""
    words = {
        404: ("not_found", "there is nothing here; /docs describes the API"),
        405: ("method_not_allowed", "this route takes another method; /docs describes the API"),
    }
    code, detail = words.get(error.status_code, ("http", str(error.detail)))
    raise Problem(error.status_code, code, detail, headers=error.headers)
