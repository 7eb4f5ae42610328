"""What every request passes: its id, the key, the headers of its answer, problems, the log and the metrics."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Mapping, MutableMapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pneumonia.serving.keys import is_loopback
from pneumonia.serving.problems import Problem, problem_response
from pneumonia.serving.service import Context, Service, milliseconds_since

OPEN = ("/", "/monitor", "/healthz", "/readyz")
"""Routes that ask for no key, beside the page's own files."""
STATIC, OPEN_INFERENCE = "/static/", "/v2"
QUIET = ("/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready")
"""Routes that probes ask every few seconds; logged where they fail."""
CLOSED = 499
"""Status that is logged where the connection ended before the answer, as nginx names it; never sent."""
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"cache-control", b"no-store"),
)
_SANE = re.compile(rb"[A-Za-z0-9._:-]{1,64}")

logger = logging.getLogger(__name__)


class Gate:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request through, and what the application answers back."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        context = Context(request_id(headers), time.perf_counter())
        # a HEAD is answered like a GET, of which the server sends the header alone
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        inner = {**scope, "method": method, "pneumonia": context}

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                context.status = message["status"]
                _add_headers(message, context.request_id)
            await send(message)

        with self.service.metrics.in_flight.track_inprogress():
            try:
                await self._pass(inner, headers, receive, answer)
            finally:
                self._report(inner, context)

    async def _pass(self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, send: Send) -> None:
        context: Context = scope["pneumonia"]
        try:
            context.key = self._check(scope["path"], headers)
            await self.app(scope, receive, send)
        except Problem as problem:
            await self._answer_problem(problem, scope, receive, send)
        except Exception:
            logger.exception("a request failed", extra={"fields": {"request_id": context.request_id}})
            if context.status is not None:
                raise  # its answer has begun: the server closes the connection
            words = f"the service failed; its log says why, under the request {context.request_id}"
            await self._answer_problem(Problem(500, "internal", words), scope, receive, send)

    def _check(self, path: str, headers: Mapping[bytes, bytes]) -> bytes:
        keys = self.service.keys
        if not keys:
            host = headers.get(b"host", b"localhost").decode("latin-1")
            name = host if host.endswith("]") else host.rpartition(":")[0] or host
            if not is_loopback(name):  # a page of another site, whose name was made to lead here (DNS rebinding)
                raise Problem(
                    421, "wrong_host", "without API keys the service answers to this machine's own name alone"
                )
        elif path not in OPEN and not path.startswith(STATIC):
            return keys.check(headers, path)
        return b""

    async def _answer_problem(self, problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
        context: Context = scope["pneumonia"]
        context.fields.setdefault("code", problem.code)
        form = scope["path"].startswith(OPEN_INFERENCE)
        response = problem_response(problem, context.request_id, open_inference=form)
        await response(scope, receive, send)

    def _report(self, scope: MutableMapping[str, Any], context: Context) -> None:
        route = route_of(scope)
        status = CLOSED if context.status is None else context.status
        self.service.metrics.requests.labels(route, str(status)).inc()
        self.service.metrics.seconds.labels(route).observe(time.perf_counter() - context.began)
        level = logging.DEBUG if route in QUIET and status < 400 else logging.INFO
        if logger.isEnabledFor(level):
            fields = {"request_id": context.request_id, "method": scope["method"], "route": route, "status": status}
            fields |= {"ms": milliseconds_since(context.began), **context.fields}
            logger.log(level, "request", extra={"fields": fields})


def request_id(headers: Mapping[bytes, bytes]) -> str:
    """Return the client's id where it is one of letters, digits and ._:-, at most 64; a new one otherwise."""
    given = headers.get(b"x-request-id", b"")
    return given.decode("ascii") if _SANE.fullmatch(given) else uuid.uuid4().hex


def route_of(scope: MutableMapping[str, Any]) -> str:
    """Return the route's pattern, of a closed list: never the path itself, which may hold anything."""
    route = scope.get("route")
    path = getattr(route, "path", None)
    if isinstance(path, str):
        return path
    return STATIC if scope["path"].startswith(STATIC) else "unmatched"


def _add_headers(message: Message, request_id: str) -> None:
    """Add the headers of every answer, where the answer does not bring its own."""
    headers = message["headers"] = list(message.get("headers", ()))
    there = {name for name, _ in headers}
    headers += [(name, value) for name, value in HEADERS if name not in there]
    headers.append((b"x-request-id", request_id.encode()))
