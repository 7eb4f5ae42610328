"""Read MLflow's registry through its REST API, without MLflow: what a server needs to follow the champion.

`RestClient` has those methods of ``mlflow.tracking.MlflowClient`` that `pneumonia.registry.models` and
`pneumonia.registry.ledger_run` read with, so that both clients are read by the same code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import requests

from pneumonia.tracking import health

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

SECONDS = (3.0, 30.0)
"""How long a connection and an answer may take."""
CHUNK = 2**20


class RestError(Exception):
    """An answer of the server that is an error.

    Attributes:
        status: of HTTP.
        error_code: MLflow's.
    """

    def __init__(self, status: int, error_code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error_code = error_code


class Page(list[SimpleNamespace]):
    """A page of results; `token` is that of the next one."""

    token: str = ""


class RestClient:
    """A read-only client of an MLflow server."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self._session = requests.Session()
        self._settings = health.request_settings(health.login())

    def get_registered_model(self, name: str) -> SimpleNamespace:
        """Return a registered model with tags and aliases."""
        found = self._get("registered-models/get", {"name": name})["registered_model"]
        aliases = {each["alias"]: each["version"] for each in found.get("aliases", ())}
        return SimpleNamespace(name=found["name"], tags=_tags(found), aliases=aliases)

    def search_model_versions(self, filter_string: str, page_token: str | None = None) -> Page:
        """Return a page of versions."""
        asked = {"filter": filter_string, **({"page_token": page_token} if page_token else {})}
        answer = self._get("model-versions/search", asked)
        page = Page(
            SimpleNamespace(name=each["name"], version=each["version"], run_id=each.get("run_id"), tags=_tags(each))
            for each in answer.get("model_versions", ())
        )
        page.token = answer.get("next_page_token", "")
        return page

    def get_experiment_by_name(self, name: str) -> SimpleNamespace | None:
        """Return an experiment; None where there is none of this name."""
        try:
            found = self._get("experiments/get-by-name", {"experiment_name": name})["experiment"]
        except RestError as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return SimpleNamespace(**{key: found[key] for key in ("name", "experiment_id", "lifecycle_stage")})

    def search_runs(self, experiment_ids: list[str], max_results: int = 100) -> list[SimpleNamespace]:
        """Return runs of experiments."""
        answer = self._request(
            "POST", "runs/search", json={"experiment_ids": experiment_ids, "max_results": max_results}
        )
        return [_run(each) for each in answer.get("runs", ())]

    def get_run(self, run_id: str) -> SimpleNamespace:
        """Return a run with its parameters and tags."""
        return _run(self._get("runs/get", {"run_id": run_id})["run"])

    def download(self, run_id: str, path: str, target: Path) -> None:
        """Write one of a run's files to `target`."""
        asked = {"run_id": run_id, "path": path}
        with (
            self._send("GET", f"{self.uri}/get-artifact", params=asked, stream=True) as answer,
            target.open("wb") as file,
        ):
            for part in answer.iter_content(CHUNK):
                file.write(part)

    def load_json(self, run_id: str, path: str) -> Any:
        """Return the document in one of a run's files; None where there is no such file."""
        found = self.load(run_id, path)
        return None if found is None else json.loads(found)

    def load(self, run_id: str, path: str) -> bytes | None:
        """Return the content of one of a run's files, a small one; None where there is no such file."""
        try:
            with self._send("GET", f"{self.uri}/get-artifact", params={"run_id": run_id, "path": path}) as answer:
                return answer.content
        except RestError as error:
            if error.status == 404:
                return None
            raise

    def _get(self, path: str, asked: Mapping[str, str]) -> dict[str, Any]:
        return self._request("GET", path, params=asked)

    def _request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        answer = self._send(method, f"{self.uri}/api/2.0/mlflow/{path}", **options)
        try:
            found: dict[str, Any] = answer.json()
        except ValueError:
            raise RestError(answer.status_code, "", "something answers there, but it is not an MLflow server") from None
        return found

    def _send(self, method: str, url: str, **options: Any) -> requests.Response:
        answer = self._session.request(method, url, timeout=SECONDS, **self._settings, **options)
        if not answer.ok:
            try:
                error = answer.json()
            except ValueError:
                error = {}
            words = str(error.get("message", "")) or f"HTTP {answer.status_code}"
            raise RestError(answer.status_code, str(error.get("error_code", "")), words)
        return answer


def _tags(entry: Mapping[str, Any]) -> dict[str, str]:
    return {each["key"]: each.get("value", "") for each in entry.get("tags", ())}


def _run(entry: Mapping[str, Any]) -> SimpleNamespace:
    data = entry.get("data", {})
    parameters = {each["key"]: each.get("value", "") for each in data.get("params", ())}
    info = SimpleNamespace(run_id=entry["info"]["run_id"])
    return SimpleNamespace(info=info, data=SimpleNamespace(params=parameters, tags=_tags(data)))


if TYPE_CHECKING:
    RegistryClient = MlflowClient | RestClient
    """A client that reads the registry."""
