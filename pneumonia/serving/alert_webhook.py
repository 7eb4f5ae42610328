"""Receive Alertmanager's notifications and start the monitor for them, each alert once.

Alertmanager delivers an alert at least once, and again while it lasts. The run's id comes from what identifies the
alert, so that the orchestrator refuses a second run. What cannot be started now is answered with 503, and Alertmanager
repeats it.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

import uvicorn
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from pneumonia.errors import ConfigError, PneumoniaError
from pneumonia.serving.keys import is_loopback
from pneumonia.serving.listening import CalmServer, address_of, bound
from pneumonia.serving.logs import write_json_logs
from pneumonia.serving.metrics import CONTENT_TYPE
from pneumonia.serving.orchestrators import Orchestrator
from pneumonia.serving.pipeline_metrics import PipelineMetrics

VARIABLE = "PNEUMONIA_WEBHOOK_TOKEN"
LABEL, VALUE = "loop", "true"
"""The label of the alerts that start the monitor; others are counted and nothing else."""
MAX_BODY = 1024 * 1024
"""Bytes of a notification; Alertmanager's are some kilobytes."""

logger = logging.getLogger(__name__)


class Alert(BaseModel):
    """An alert of a notification; of what Alertmanager sends, what is used here."""

    model_config = ConfigDict(frozen=True)

    status: str
    labels: dict[str, str]
    starts_at: datetime = Field(alias="startsAt")
    fingerprint: str = Field(pattern="^[0-9a-f]{1,64}$")

    @property
    def starts_the_monitor(self) -> bool:
        return self.status == "firing" and self.labels.get(LABEL) == VALUE

    @property
    def run_id(self) -> str:
        """The same for each delivery of the same alert, another where it has been resolved and fires again."""
        name = re.sub(r"[^A-Za-z0-9]", "", self.labels.get("alertname", ""))[:64]
        began = self.starts_at.astimezone(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        return f"alert-{name}-{self.fingerprint}-{began}"


class Notification(BaseModel):
    """The body of Alertmanager's webhook, version 4."""

    version: str = Field(pattern="^4$")
    alerts: list[Alert] = Field(max_length=10_000)


class Webhook:
    """The webhook's application.

    Args:
        orchestrator: that starts the monitor.
        token: that a notification has to bring.
        metrics: of what is received and of the pipelines.
    """

    def __init__(self, orchestrator: Orchestrator, token: str, metrics: PipelineMetrics) -> None:
        self._orchestrator, self._token, self._metrics = orchestrator, token.encode(), metrics
        self.app = Starlette(
            routes=[
                Route("/alerts", self.receive, methods=["POST"]),
                Route("/metrics", self.report, methods=["GET"]),
                Route("/healthz", self.healthy, methods=["GET"]),
            ]
        )

    async def healthy(self, _: Request) -> Response:
        """Say that the process is alive."""
        return PlainTextResponse("alive\n")

    async def report(self, _: Request) -> Response:
        """Return the metrics, after asking the orchestrator for them."""
        return Response(await run_in_threadpool(self._metrics.text), headers={"Content-Type": CONTENT_TYPE})

    async def receive(self, request: Request) -> Response:
        """Start the monitor for each alert of a notification that asks for it.

        Statuses: 200, 401 a wrong token, 413 a body that is too large, 422 no notification, 503 not started, to be
        repeated.
        """
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode("latin-1"), self._token):
            return JSONResponse({"error": "give the token, as Authorization: Bearer TOKEN"}, 401)
        try:
            body = await _body(request)
        except ClientDisconnect:
            return Response(status_code=400)
        if body is None:
            return JSONResponse({"error": f"more than {MAX_BODY} bytes"}, 413)
        try:
            notification = Notification.model_validate_json(body)
        except ValidationError as error:
            fields = sorted({".".join(map(str, one["loc"])) for one in error.errors(include_input=False)})
            return JSONResponse({"error": "no notification of Alertmanager's, version 4", "fields": fields}, 422)
        return await run_in_threadpool(self._start, notification)

    def _start(self, notification: Notification) -> Response:
        outcomes: dict[str, str] = {}
        for alert in notification.alerts:
            self._metrics.alerts.labels("firing" if alert.status == "firing" else "resolved").inc()
            if alert.starts_the_monitor and alert.run_id not in outcomes:
                outcomes[alert.run_id] = self._start_one(alert.run_id)
        failed = "failed" in outcomes.values()
        return JSONResponse({"runs": outcomes}, 503 if failed else 200)

    def _start_one(self, run_id: str) -> str:
        fields = {"run_id": run_id}
        try:
            outcome = "started" if self._orchestrator.start(run_id) else "known"
        except PneumoniaError as error:
            outcome = "failed"
            logger.warning("the monitor was not started: %s", error, extra={"fields": fields})
        else:
            logger.info("the monitor was %s", outcome, extra={"fields": fields})
        self._metrics.starts.labels(outcome).inc()
        return outcome


async def _body(request: Request) -> bytes | None:
    """Return the body; None where it is too large."""
    parts = bytearray()
    async for part in request.stream():
        parts += part
        if len(parts) > MAX_BODY:
            return None
    return bytes(parts)


def token_of(environment: Mapping[str, str], host: str) -> str:
    """Return the token that notifications have to bring.

    Raises:
        ConfigError: there is none, or one that can be guessed.
    """
    token = environment.get(VARIABLE, "").strip()
    if len(token) < 16:
        where = "" if is_loopback(host) else f", and {host} can be reached from other machines"
        raise ConfigError(f"{VARIABLE}: holds no token of 16 letters or more{where}; set it to a random one")
    return token


def run(orchestrator: Orchestrator, host: str, port: int, token: str, mlflow: str | None) -> None:
    """Receive notifications until SIGTERM or SIGINT.

    Args:
        orchestrator: that starts the monitor.
        host, port: to listen on.
        token: that a notification has to bring.
        mlflow: address of an MLflow server whose health is reported too.

    Raises:
        ConfigError: the address cannot be taken.
    """
    write_json_logs(logging.WARNING)
    webhook = Webhook(orchestrator, token, PipelineMetrics(orchestrator, mlflow))
    config = uvicorn.Config(
        webhook.app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=20,
    )
    with contextlib.closing(bound(host, port, "--port")) as listener:
        listener.listen()  # before the address is written: whoever reads it may connect at once
        print(f"{address_of(listener)}/alerts: Alertmanager's webhook")
        sys.stdout.flush()
        logging.getLogger().setLevel(logging.INFO)
        CalmServer(config).run(sockets=[listener])
