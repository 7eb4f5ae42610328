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

START_SECONDS = 10.0
"""How long a start may take: the sender of the alert waits meanwhile."""
LOOK_SECONDS = 2.5
"""How long each question for the metrics may take: after one without an answer no other is asked, so that a scrape,
which ends after 10 s, has an answer."""
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

    def call(
        self, method: str, path: str, *, known: tuple[int, ...] = (), timeout: float = START_SECONDS, **carried: Any
    ) -> requests.Response:
        """Return an answer of 200 to 299, or one whose status is known."""
        with self._translated():
            answer = self.session.request(method, f"{self.url}{path}", timeout=timeout, **carried)
        if not answer.ok and answer.status_code not in known:
            raise TrackingError(
                f"{self.name} at {redacted(self.url)} answers {method} {path} with {answer.status_code}"
            )
        return answer

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except requests.RequestException as error:
            kind = type(error).__name__
            raise TrackingError(f"{self.name} at {redacted(self.url)} cannot be used ({kind})") from None

    @contextmanager
    def understood(self) -> Iterator[None]:
        """Translate what goes wrong while an answer is read that is another than this release of the server gives."""
        try:
            yield
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            words = f"{self.name} at {redacted(self.url)} gives an answer that is not understood"
            raise TrackingError(
                f"{words} ({type(error).__name__}: {error}); is it another server or release?"
            ) from None


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
        return self._authorised("POST", path, START_SECONDS, (409,), json=body).status_code != 409

    def parts(self) -> dict[str, bool]:
        """Return the health of the API server and of what it knows of."""
        try:
            answer = self._client.call("GET", "/api/v2/monitor/health", timeout=LOOK_SECONDS)
            with self._client.understood():
                found = answer.json()
                states = {part: found[part]["status"] == "healthy" for part in self.PARTS}
        except TrackingError:
            return {f"airflow_{part}": False for part in ("apiserver", *self.PARTS)}
        return {"airflow_apiserver": True} | {f"airflow_{part}": healthy for part, healthy in states.items()}

    def pipelines(self) -> list[Pipeline]:
        """Return what Airflow counts of each DAG that the account may read."""
        query = {"limit": RUNS, "order_by": "-run_after"}
        stats = self._authorised("GET", "/api/v2/dagStats", LOOK_SECONDS)
        runs = self._authorised("GET", "/api/v2/dags/~/dagRuns", LOOK_SECONDS, params=query)
        with self._client.understood():
            last = _last(runs.json()["dag_runs"], "dag_id")
            return [
                _pipeline(dag["dag_id"], {one["state"]: one["count"] for one in dag["stats"]}, last.get(dag["dag_id"]))
                for dag in stats.json()["dags"]
            ]

    def _authorised(
        self, method: str, path: str, timeout: float, known: tuple[int, ...] = (), **carried: Any
    ) -> requests.Response:
        """Call with the token, and once more with a new one where it has expired."""
        token = self._token or self._sign_in(timeout)
        headers = {"Authorization": f"Bearer {token}"}
        answer = self._client.call(method, path, known=(*known, 401), timeout=timeout, headers=headers, **carried)
        if answer.status_code != 401:
            return answer
        headers = {"Authorization": f"Bearer {self._sign_in(timeout)}"}
        return self._client.call(method, path, known=known, timeout=timeout, headers=headers, **carried)

    def _sign_in(self, timeout: float) -> str:
        answer = self._client.call("POST", "/auth/token", timeout=timeout, json=self._login)
        with self._client.understood():
            self._token = token = str(answer.json()["access_token"])
        return token


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
        answer = self._client.call("GET", f"/deployments/name/{name}")
        with self._client.understood():
            found = answer.json()["id"]
        body = {"name": run_id, "idempotency_key": run_id, "parameters": {"trigger": run_id}}
        return self._client.call("POST", f"/deployments/{found}/create_flow_run", json=body).status_code == 201

    def parts(self) -> dict[str, bool]:
        """Return whether the server answers."""
        try:
            answer = self._client.call("GET", "/health", timeout=LOOK_SECONDS)
            with self._client.understood():
                return {"prefect": answer.json() is True}
        except TrackingError:
            return {"prefect": False}

    def pipelines(self) -> list[Pipeline]:
        """Return the last 200 runs by flow: Prefect counts none itself."""
        body = {"sort": "START_TIME_DESC", "limit": 200}
        runs = self._client.call("POST", "/flow_runs/filter", timeout=LOOK_SECONDS, json=body)
        flows = self._client.call("POST", "/flows/filter", timeout=LOOK_SECONDS, json={"limit": 200})
        with self._client.understood():
            names = {flow["id"]: flow["name"] for flow in flows.json()}
            known = [
                {"pipeline": names[run["flow_id"]], "state": run["state_type"].lower(), "end_date": run["end_time"]}
                | {"duration": run["total_run_time"]}
                for run in runs.json()
                if run["flow_id"] in names and run["state_type"]
            ]
            last = _last(known, "pipeline")
            return [_pipeline(name, _count(known, name), last.get(name)) for name in sorted(set(names.values()))]


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
