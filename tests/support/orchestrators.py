"""Small HTTP servers that answer as Airflow's and Prefect's APIs do, and can be away."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

USER, PASSWORD = "alerts", "the-alerts-password"
DAG = "pneumonia_monitor"
DEPLOYMENT = "0b9c7a52-1111-4222-8333-444455556666"
FLOW = "0b9c7a52-9999-4222-8333-444455556666"
HEALTH = {
    "metadatabase": {"status": "healthy"},
    "scheduler": {"status": "healthy", "latest_scheduler_heartbeat": "2026-11-26T04:00:00+00:00"},
    "triggerer": {"status": None, "latest_triggerer_heartbeat": None},
    "dag_processor": {"status": "unhealthy", "latest_dag_processor_heartbeat": None},
}


class Api:
    """A server on a free port of loopback.

    Attributes:
        started: ids of the runs that it has, with what was asked for.
        broken: every request is answered with 503.
        strange: every request is answered with 200 and another document than the API's.
        delay: seconds before each answer.
        logins: tokens that were given out.
    """

    kind: ClassVar[str]

    def __init__(self) -> None:
        self.started: dict[str, dict[str, Any]] = {}
        self.broken = self.strange = False
        self.delay = 0.0
        self.logins = 0
        self.token = ""
        api = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def _any(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = json.loads(content) if content else None
                path = self.path.partition("?")[0]
                time.sleep(api.delay)
                if api.broken or api.strange:
                    status, found = (503 if api.broken else 200), {"no": "thing"}
                else:
                    status, found = api.answer(self.command, path, body, dict(self.headers))
                text = json.dumps(found).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                with contextlib.suppress(BrokenPipeError):  # a client that has waited long enough
                    self.end_headers()
                    self.wfile.write(text)

            do_GET = do_POST = _any  # noqa: N815 (the base class's names)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever)

    def __enter__(self) -> Api:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join(10)

    def answer(self, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any]:
        """Return the status and the document of an answer."""
        raise NotImplementedError


class AirflowApi(Api):
    """Airflow's: a token for the right login, one run an id."""

    def answer(self, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any]:
        if path == "/api/v2/monitor/health":
            return 200, HEALTH
        if path == "/auth/token":
            if body != {"username": USER, "password": PASSWORD}:
                return 401, {"detail": "Invalid credentials"}
            self.logins += 1
            self.token = f"token-{self.logins}"
            return 201, {"access_token": self.token}
        if headers.get("Authorization") != f"Bearer {self.token}" or not self.token:
            return 401, {"detail": "Invalid JWT token"}
        if path == "/api/v2/dagStats":
            stats = [{"state": "success", "count": 3}, {"state": "failed", "count": 1}]
            return 200, {"dags": [{"dag_id": DAG, "stats": stats}, {"dag_id": "other", "stats": []}]}
        if path == "/api/v2/dags/~/dagRuns":
            times = [
                ("2026-11-26T04:00:10Z", "success", 12.5),
                ("2026-11-26T03:00:10Z", "failed", 3.0),
                (None, "running", None),
            ]
            runs = [{"dag_id": DAG, "end_date": end, "state": state, "duration": took} for end, state, took in times]
            return 200, {"dag_runs": runs}
        if path == f"/api/v2/dags/{DAG}/dagRuns" and method == "POST":
            assert body["logical_date"] is None
            known = body["dag_run_id"] in self.started
            self.started.setdefault(body["dag_run_id"], body["conf"])
            return (409, {"detail": "exists"}) if known else (200, body)
        return 404, {"detail": "not found"}


class PrefectApi(Api):
    """Prefect's: one flow run an idempotency key."""

    login = ""

    def answer(self, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any]:
        if headers.get("Authorization", "") != self.login:
            return 401, {"exception_message": "Unauthorized"}
        if path == "/health":
            return 200, True
        if path == "/deployments/name/pneumonia-monitor/monitor":
            return 200, {"id": DEPLOYMENT}
        if path == "/flows/filter":
            return 200, [{"id": FLOW, "name": "pneumonia-monitor"}]
        if path == "/flow_runs/filter":
            common = {"flow_id": FLOW, "total_run_time": 4.5}
            ended = {"state_type": "COMPLETED", "end_time": "2026-11-26T04:00:10Z"}
            return 200, [common | ended, common | {"state_type": "RUNNING", "end_time": None}]
        if re.fullmatch(f"/deployments/{DEPLOYMENT}/create_flow_run", path):
            known = body["idempotency_key"] in self.started
            self.started.setdefault(body["idempotency_key"], body["parameters"])
            return (200 if known else 201), {"id": "run"}
        return 404, {}
