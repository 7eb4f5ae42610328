"""Answer questions about the service itself: health, the model's card, samples, metrics, page, documentation."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response

import pneumonia
from pneumonia.errors import DataError
from pneumonia.registry import dossier_page
from pneumonia.serving import card, metrics
from pneumonia.serving.problems import Problem, json_response, unavailable
from pneumonia.serving.service import service_of

PAGE = Path(__file__).parent / "static"
DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
DOSSIER_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Its style and its pictures are in the page itself, and it has no script."""
ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
DOCS_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Pneumonia: the API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="api"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
DOCS_START = 'SwaggerUIBundle({url: "/openapi.json", dom_id: "#api", deepLinking: true, validatorUrl: null});\n'


async def page(_: Request) -> Response:
    """Return the page."""
    return FileResponse(PAGE / "index.html", media_type="text/html", headers={"Cache-Control": "no-cache"})


async def healthz(_: Request) -> Response:
    """Say that the process lives."""
    return json_response({"status": "alive", "version": pneumonia.__version__})


async def readyz(request: Request) -> Response:
    """Say whether radiographs are answered."""
    service = service_of(request)
    if (why := service.unready()) is not None:
        raise unavailable("not_ready", why)
    model = service.serving().model
    return json_response({"status": "ready", "model": model.name, "version": model.version})


async def prometheus(request: Request) -> Response:
    """Return the metrics, for Prometheus."""
    service = service_of(request)
    if service.config.metrics_port:
        raise Problem(404, "not_found", f"the metrics are on port {service.config.metrics_port} of loopback")
    return Response(service.metrics.text(), headers={"Content-Type": metrics.CONTENT_TYPE})


async def model_card(request: Request) -> Response:
    """Return the card of the model that answers."""
    return json_response(card.card(service_of(request).serving()))


async def dossier(request: Request) -> Response:
    """Return the dossier of the model that answers, as it was registered: a page that opens offline."""
    try:
        content = dossier_page.read_beside(service_of(request).serving().model.folder)
    except DataError as error:
        raise unavailable("damaged", str(error)) from None
    if content is None:
        raise Problem(404, "not_found", "this model was registered without a dossier; pneumonia dossier writes one")
    return Response(content, media_type="text/html", headers={"Content-Security-Policy": DOSSIER_POLICY})


async def samples(request: Request) -> Response:
    """List the sample images."""
    names = card.sample_names(service_of(request).serving().model)
    return json_response({"samples": [{"name": name, "url": f"/v1/samples/{name}"} for name in names]})


async def sample(request: Request) -> Response:
    """Return a sample image."""
    content = card.sample(service_of(request).serving().model, request.path_params["name"])
    if content is None:
        raise Problem(404, "not_found", "there is no sample image of this name; /v1/samples lists them")
    return Response(content, media_type="image/png")


async def openapi(request: Request) -> Response:
    """Return the OpenAPI document."""
    return json_response(request.app.openapi())


async def documentation(_: Request) -> Response:
    """Return the page of the API's documentation, which asks no other host for anything."""
    return Response(DOCS_PAGE, media_type="text/html", headers={"Content-Security-Policy": DOCS_POLICY})


async def documentation_file(request: Request) -> Response:
    """Return a file of that page."""
    name = request.path_params["name"]
    if name == "start.js":
        return Response(DOCS_START, media_type="text/javascript")
    if name not in ASSETS:
        raise Problem(404, "not_found", "there is no such file")
    content = (importlib.resources.files("fastapi_offline") / "static" / name).read_bytes()
    return Response(content, media_type=ASSETS[name], headers={"Cache-Control": "max-age=86400"})
