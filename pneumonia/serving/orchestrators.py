"""Start the monitor through Airflow's or Prefect's API, and ask both how their pipelines are."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import requests

from pneumonia.credentials import redacted
from pneumonia.errors import ConfigError, TrackingError

TIMEOUT = (3.05, 10.0)
"""Seconds to connect and to read: the sender of an alert waits meanwhile."""
RUNS = 50
"""Runs that are looked through for each pipeline's last one."""


@dataclass(frozen=True)
class Pipeline:
    """What an orchestrator has of a pipeline.

    Attributes:
        name: of the DAG or the flow.
        runs: their number by state.
        seconds: duration of the last run that ended; None where none has.
        ended: when that was, Unix time.
        succeeded: whether it did.
    """

    name: str
    runs: Mapping[str, int]
    seconds: float | None = None
    ended: float | None = None
    succeeded: bool | None = None


class Orchestrator(Protocol):
    """What starts the monitor."""

    def start(self, run_id: str) -> bool:
        """Start the monitor's run of this id; return False where it was started before.

        Raises:
            TrackingError: it cannot be started now.
        """

    def parts(self) -> dict[str, bool]:
        """Return whether each part is healthy; an orchestrator that is away has no healthy part."""

    def pipelines(self) -> list[Pipeline]:
        """Return the pipelines.

        Raises:
            TrackingError: they cannot be asked for now.
        """


class _Client:
    """A session with one server; every failure is one kind of error, whose message names the server."""

    def __init__(self, url: str, name: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"{name}: {redacted(url)} is no address; write http://HOST:PORT")
        self.url, self.name = url.rstrip("/"), name
        self.session = requests.Session()

    def call(self, method: str, path: str, *, known: tuple[int, ...] = (), **carried: Any) -> requests.Response:
        """Return an answer of 200 to 299, or one whose status is known."""
        with self._translated():
            answer = self.session.request(method, f"{self.url}{path}", timeout=TIMEOUT, **carried)
        if not answer.ok and answer.status_code not in known:
            raise TrackingError(
                f"{self.name} at {redacted(self.url)} answers {method} {path} with {answer.status_code}"
            )
        return answer

    def json(self, method: str, path: str, **carried: Any) -> Any:
        answer = self.call(method, path, **carried)
        with self._translated():
            return answer.json()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except requests.RequestException as error:
            kind = type(error).__name__
            raise TrackingError(f"{self.name} at {redacted(self.url)} cannot be used ({kind})") from None


class Airflow:
    """Airflow 3, through its REST API version 2, with an account that may start one DAG.

    Args:
        url: of the API server.
        user, password: of the account.
        dag: that the monitor is.
    """

    PARTS = ("scheduler", "dag_processor", "metadatabase")

    def __init__(self, url: str, user: str, password: str, dag: str) -> None:
        self._client, self._dag = _Client(url, "Airflow"), dag
        self._login = {"username": user, "password": password}
        self._token = ""

    def start(self, run_id: str) -> bool:
        """Trigger the DAG with an id that is refused a second time."""
        body = {"dag_run_id": run_id, "logical_date": None, "conf": {"trigger": run_id}}
        path = f"/api/v2/dags/{quote(self._dag, safe='')}/dagRuns"
        return self._authorised("POST", path, known=(409,), json=body).status_code != 409

    def parts(self) -> dict[str, bool]:
        """Return the health of the API server and of what it knows of."""
        try:
            found = self._client.json("GET", "/api/v2/monitor/health")
        except TrackingError:
            return {f"airflow_{part}": False for part in ("apiserver", *self.PARTS)}
        states = {part: (found.get(part) or {}).get("status") == "healthy" for part in self.PARTS}
        return {"airflow_apiserver": True} | {f"airflow_{part}": healthy for part, healthy in states.items()}

    def pipelines(self) -> list[Pipeline]:
        """Return what Airflow counts of each DAG that the account may read."""
        stats = self._authorised("GET", "/api/v2/dagStats").json()["dags"]
        query = {"limit": RUNS, "order_by": "-run_after"}
        last = _last(self._authorised("GET", "/api/v2/dags/~/dagRuns", params=query).json()["dag_runs"], "dag_id")
        return [
            _pipeline(dag["dag_id"], {one["state"]: one["count"] for one in dag["stats"]}, last.get(dag["dag_id"]))
            for dag in stats
        ]

    def _authorised(self, method: str, path: str, *, known: tuple[int, ...] = (), **carried: Any) -> requests.Response:
        """Call with a token, which is fetched once more where it has expired."""
        for attempt in (1, 2):
            if not self._token:
                self._token = self._client.json("POST", "/auth/token", json=self._login)["access_token"]
            headers = {"Authorization": f"Bearer {self._token}"}
            allowed = (*known, 401) if attempt == 1 else known
            answer = self._client.call(method, path, known=allowed, headers=headers, **carried)
            if answer.status_code != 401:
                break
            self._token = ""
        return answer


class Prefect:
    """Prefect 3, through its REST API.

    Args:
        url: of the API; it ends in /api.
        deployment: FLOW/DEPLOYMENT that the monitor is.
        login: USER:PASSWORD of a server that asks for one; empty: it asks for none.
    """

    def __init__(self, url: str, deployment: str, login: str = "") -> None:
        self._client, self._deployment = _Client(url, "Prefect"), deployment
        if login:
            encoded = base64.b64encode(login.encode()).decode()
            self._client.session.headers["Authorization"] = f"Basic {encoded}"

    def start(self, run_id: str) -> bool:
        """Create a flow run with a key that makes no second one."""
        name = "/".join(quote(part, safe="") for part in self._deployment.split("/", 1))
        found = self._client.json("GET", f"/deployments/name/{name}")["id"]
        body = {"name": run_id, "idempotency_key": run_id, "parameters": {"trigger": run_id}}
        return self._client.call("POST", f"/deployments/{found}/create_flow_run", json=body).status_code == 201

    def parts(self) -> dict[str, bool]:
        """Return whether the server answers."""
        try:
            return {"prefect": self._client.json("GET", "/health") is True}
        except TrackingError:
            return {"prefect": False}

    def pipelines(self) -> list[Pipeline]:
        """Return the last runs of each deployment, of which Prefect counts none itself."""
        body = {"sort": "START_TIME_DESC", "limit": 200}
        runs = self._client.json("POST", "/flow_runs/filter", json=body)
        names = {flow["id"]: flow["name"] for flow in self._client.json("POST", "/flows/filter", json={"limit": 200})}
        runs = [
            {"pipeline": names[run["flow_id"]], "state": run["state_type"].lower(), "duration": run["total_run_time"]}
            | {"end_date": run["end_time"]}
            for run in runs
            if run["flow_id"] in names and run["state_type"]
        ]
        last = _last(runs, "pipeline")
        return [_pipeline(name, _count(runs, name), last.get(name)) for name in sorted(set(names.values()))]


def _count(runs: list[dict[str, Any]], name: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for run in runs:
        if run["pipeline"] == name:
            counts[run["state"]] = counts.get(run["state"], 0) + 1
    return counts


def _last(runs: list[dict[str, Any]], name: str) -> dict[str, dict[str, Any]]:
    """Return the run of each name that ended last."""
    ended = sorted((run for run in runs if run["end_date"]), key=lambda run: _time(run["end_date"]))
    return {run[name]: run for run in ended}


def _pipeline(name: str, runs: Mapping[str, int], last: dict[str, Any] | None) -> Pipeline:
    if last is None:
        return Pipeline(name, runs)
    good = last["state"] in ("success", "completed")
    return Pipeline(name, runs, float(last["duration"] or 0.0), _time(last["end_date"]), good)


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
