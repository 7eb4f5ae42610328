"""The booted stack as its users see it: the make targets, Airflow's REST API, MLflow's REST API."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).parents[2]
DAGS = ROOT / "deployments/airflow/dags"
FAST = "pneumonia_pipeline_fast"
OVER = {"success", "failed"}
MODEL = "pneumonia-tiny-phantom"
PARTS = ("Makefile", "docker-compose.yml", "deployments", "pyproject.toml", "README.md", "LICENSE", "data.dvc")
PARTS += ("requirements-cuda.lock",)
PACKAGES = ("pneumonia", "tasks")
PUBLISHED = ("MLFLOW", "AIRFLOW", "SERVING", "PROMETHEUS", "ALERTMANAGER")
COMMIT = "the-commit-under-test"
SECRET = ("_PASSWORD", "_KEY", "_TOKEN", "_SECRET")  # how the setting of a secret ends


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def checkout(folder: Path) -> Path:
    """Copy what the stack is made of as a checkout under umask 077 has it: only its owner can read it."""
    folder.mkdir()
    for name in (*PARTS, *PACKAGES):
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    for path in folder.rglob("*"):
        path.chmod(path.stat().st_mode & 0o700)
    folder.chmod(0o700)
    return folder


def compose_config(env_file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Let Compose print, as JSON, what it makes of its files, with no setting but the file's."""
    return subprocess.run(
        ["docker", "compose", "--env-file", env_file, *arguments, "config", "--format", "json"],
        cwd=ROOT,
        env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(Path.home())},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def eventually(what: str, seen: Callable[[], Any], timeout: float, pause: float = 0.5) -> Any:
    """Return what `seen` returns as soon as that is true; it may raise while a server is away."""
    end, last = time.monotonic() + timeout, None
    while time.monotonic() < end:
        try:
            if found := seen():
                return found
        except (requests.RequestException, KeyError) as error:
            last = error
        time.sleep(pause)
    raise AssertionError(f"{what}: not within {timeout:.0f} s ({last})")


class Stack:
    """One project of Compose, with a checkout, an .env, images, ports and volumes of its own.

    Attributes:
        root: the checkout that it is built from.
        up_output: what the last `make up` printed.
        up_seconds: how long that took.
    """

    def __init__(self, folder: Path, project: str) -> None:
        self.project, self.root = project, checkout(folder / "checkout")
        self.env_file = folder / "stack.env"
        self.ports = {f"{name}_PORT": free_port() for name in PUBLISHED}
        keys = ",".join(secrets.token_urlsafe(24) for _ in range(2))  # two readers
        watched = {"KEEP_IMAGES": "true", "LOOP_MIN_LABELS": "30", "LOOP_COOLDOWN_HOURS": "0"}
        settings = {**self.ports, "SERVING_MODEL": MODEL, "PNEUMONIA_API_KEY": keys, **watched}
        self.env_file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        self.env_file.chmod(0o600)
        self.airflow_url = f"http://127.0.0.1:{self.ports['AIRFLOW_PORT']}"
        self.mlflow_url = f"http://127.0.0.1:{self.ports['MLFLOW_PORT']}"
        self.service_url = f"http://127.0.0.1:{self.ports['SERVING_PORT']}"
        self.prometheus_url = f"http://127.0.0.1:{self.ports['PROMETHEUS_PORT']}"
        self.alertmanager_url = f"http://127.0.0.1:{self.ports['ALERTMANAGER_PORT']}"
        self.up_output, self.up_seconds = "", 0.0
        self._token = ""

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "COMPOSE_PROJECT_NAME": self.project,
            "ENV_FILE": str(self.env_file),
            "STACK_VERSION": self.project,  # two stacks on one machine do not build into each other's images
            "GIT_COMMIT": COMMIT,
            "COMPOSE_PROGRESS": "plain",
        }

    def make(self, *arguments: str, timeout: float = 600, check: bool = True) -> str:
        """Run a make target and return what it printed."""
        done = subprocess.run(
            ["make", "--no-print-directory", *arguments],
            cwd=self.root,
            env=self.environment,
            timeout=timeout,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0 or not check, f"make {' '.join(arguments)}: {done.stdout[-4000:]}"
        return done.stdout

    def up(self, *arguments: str) -> None:
        began = time.monotonic()
        self.up_output = self.make("up", *arguments, timeout=1200)
        self.up_seconds, self._token = time.monotonic() - began, ""

    def restore(self, folder: Path) -> None:
        self.make("restore", f"BACKUP={folder}")
        self._token = ""

    def remove(self) -> None:
        """Remove everything: containers, volumes and images; the builder's cache keeps what the next one needs."""
        self.compose("--profile", "data", "down", "--volumes", "--rmi", "all", "--timeout", "5", check=False)

    def compose(self, *arguments: str, timeout: float = 180, check: bool = True) -> str:
        done = subprocess.run(
            ["docker", "compose", "--env-file", str(self.env_file), *arguments],
            cwd=self.root,
            env=self.environment,
            timeout=timeout,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0 or not check, f"docker compose {' '.join(arguments)}: {done.stderr[-2000:]}"
        return done.stdout

    def memory(self) -> int:
        """Return what the containers use, in bytes."""
        names = self.compose("ps", "--quiet").split()
        command = ["docker", "stats", "--no-stream", "--format", "{{.MemUsage}}", *names]
        lines = subprocess.run(command, timeout=60, capture_output=True, text=True, check=True).stdout.splitlines()
        units = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
        used = [line.partition("/")[0].strip() for line in lines]
        return sum(int(float(one[:-3]) * units[one[-3:]]) for one in used)

    def settings(self) -> dict[str, str]:
        lines = self.env_file.read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def secrets(self) -> dict[str, str]:
        """The settings that nobody may read where they are not needed."""
        return {name: value for name, value in self.settings().items() if name.endswith(SECRET)}

    # Airflow

    def login(self, user: str, password: str) -> requests.Response:
        body = {"username": user, "password": password}
        return requests.post(f"{self.airflow_url}/auth/token", json=body, timeout=30)

    def airflow(self, method: str, path: str, body: Any = None, *, expect: int | None = 200, **params: Any) -> Any:
        """Call Airflow's API version 2 and return the answer's JSON."""
        if not self._token:
            settings = self.settings()
            answer = self.login(settings["AIRFLOW_ADMIN_USER"], settings["AIRFLOW_ADMIN_PASSWORD"])
            answer.raise_for_status()
            self._token = answer.json()["access_token"]
        answer = requests.request(
            method,
            f"{self.airflow_url}/api/v2/{path}",
            json=body,
            params=params,
            headers={"Authorization": f"Bearer {self._token}", "Accept": "application/json"},
            timeout=60,
        )
        if answer.status_code >= 500:
            answer.raise_for_status()  # which `eventually` waits out
        assert expect is None or answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def trigger(self, conf: dict[str, Any], dag: str = FAST) -> str:
        """Start a run with these values in its form, and return its id."""
        return str(self.airflow("POST", f"dags/{dag}/dagRuns", {"logical_date": None, "conf": conf})["dag_run_id"])

    def state(self, run: str, dag: str = FAST) -> str:
        return str(self.airflow("GET", f"dags/{dag}/dagRuns/{run}")["state"])

    def tasks(self, run: str, dag: str = FAST) -> dict[str, dict[str, Any]]:
        found = self.airflow("GET", f"dags/{dag}/dagRuns/{run}/taskInstances")["task_instances"]
        return {task["task_id"]: task for task in found}

    def last_words(self, run: str, task: str, attempt: int = 1) -> str:
        """Return the last line of a task's log."""
        lines = [line for line in self.log(run, task, attempt).splitlines() if line.strip() and "::" not in line]
        return lines[-1]

    def question(self, run: str) -> str:
        """Wait until the run asks a person for the approval, and return what it asks."""
        task = "approve_promotion"
        eventually("the approval", lambda: self.tasks(run)[task]["state"] == "awaiting_input", 600)
        # an answer that comes before the scheduler has seen the end of the asking process is asked for again
        seen = re.compile(rf"Received executor event with state success .*'{task}', run_id='{re.escape(run)}'")
        eventually("the scheduler's notice", lambda: seen.search(self.compose("logs", "airflow-scheduler")), 60)
        return str(self.airflow("GET", self._question(run))["body"])

    def answer(self, run: str, chosen: str) -> None:
        """Press Approve or Reject."""
        self.airflow("PATCH", self._question(run), {"chosen_options": [chosen], "params_input": {}})

    @staticmethod
    def _question(run: str) -> str:
        return f"dags/{FAST}/dagRuns/{run}/taskInstances/approve_promotion/-1/hitlDetails"

    def finished(self, run: str, timeout: float = 600, dag: str = FAST) -> str:
        """Wait for the run's end and return its state."""
        try:
            return str(eventually(f"end of {run}", lambda: (s := self.state(run, dag)) in OVER and s, timeout))
        except AssertionError as error:
            states = {name: (task["state"], task["try_number"]) for name, task in self.tasks(run, dag).items()}
            raise AssertionError(f"{error}: {states}") from None

    def log(self, run: str, task: str, attempt: int = 1, dag: str = FAST) -> str:
        """Return a task's log, as its page shows it."""
        path = f"dags/{dag}/dagRuns/{run}/taskInstances/{task}/logs/{attempt}"
        entries = self.airflow("GET", path, full_content="true")["content"]
        return "\n".join(str(entry.get("event", entry)) if isinstance(entry, dict) else str(entry) for entry in entries)

    def xcom(self, run: str, task: str, key: str = "return_value", dag: str = FAST) -> Any:
        path = f"dags/{dag}/dagRuns/{run}/taskInstances/{task}/xcomEntries/{key}"
        return self.airflow("GET", path, deserialize="true")["value"]

    # MLflow

    def mlflow(self, method: str, path: str, **arguments: Any) -> Any:
        """Call MLflow's REST API and return the answer's JSON."""
        carried = {"params": arguments} if method == "GET" else {"json": arguments}
        answer = self.mlflow_request(method, f"api/2.0/mlflow/{path}", **carried)
        if answer.status_code >= 500:
            answer.raise_for_status()
        assert answer.status_code == 200, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def mlflow_request(
        self, method: str, path: str, login: tuple[str, str] | None = None, **carried: Any
    ) -> requests.Response:
        """Send a request with the pipeline's login, or with another."""
        settings = self.settings()
        login = login or (settings["MLFLOW_PIPELINE_USER"], settings["MLFLOW_PIPELINE_PASSWORD"])
        return requests.request(method, f"{self.mlflow_url}/{path}", auth=login, timeout=60, **carried)

    def mlflow_runs(self, key: str, experiment: str = "pneumonia") -> list[dict[str, Any]]:
        """Return the runs of a training's key."""
        found = self.mlflow("GET", "experiments/get-by-name", experiment_name=experiment)["experiment"]
        query = {"experiment_ids": [found["experiment_id"]], "filter": f"tags.`pneumonia.key` = '{key}'"}
        return list(self.mlflow("POST", "runs/search", **query).get("runs", []))

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        found = self.mlflow("GET", "metrics/get-history", run_id=run_id, metric_key=metric).get("metrics", [])
        return [(int(entry.get("step", 0)), float(entry["value"])) for entry in found]

    def artifact(self, run_id: str, path: str) -> bytes:
        answer = self.mlflow_request("GET", "get-artifact", params={"run_id": run_id, "path": path})
        answer.raise_for_status()
        return answer.content

    def champion(self, name: str = MODEL) -> dict[str, Any]:
        return dict(self.mlflow("GET", "registered-models/alias", name=name, alias="champion")["model_version"])

    def versions(self, name: str = MODEL) -> list[dict[str, Any]]:
        found = self.mlflow("GET", "model-versions/search", filter=f"name = '{name}'")
        return list(found.get("model_versions", []))

    # The service

    def service(
        self, method: str, path: str, *, key: bool = True, as_key: str | None = None, **carried: Any
    ) -> requests.Response:
        """Send a request with the first reader's API key, with another, or without one."""
        headers = {"X-API-Key": as_key or self.reader_keys()[0]} if key else {}
        return requests.request(method, f"{self.service_url}/{path}", headers=headers, timeout=60, **carried)

    def reader_keys(self) -> list[str]:
        """Return the API keys of two readers."""
        return self.settings()["PNEUMONIA_API_KEY"].split(",")

    def serves(self, version: str, timeout: float = 20.0) -> dict[str, Any]:
        """Wait until the service answers with a version, twice its interval at most; return its card."""

        def seen() -> Any:
            answer = self.service("GET", "v1/model")
            return answer.status_code == 200 and (card := answer.json())["version"] == version and card

        return dict(eventually(f"version {version} in service", seen, timeout))

    # What watches

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Evaluate PromQL now, and return its series."""
        answer = requests.get(f"{self.prometheus_url}/api/v1/query", params={"query": expression}, timeout=30)
        assert answer.status_code == 200, f"{expression}: {answer.text}"
        data = answer.json()["data"]
        return list(data["result"]) if data["resultType"] == "vector" else [data["result"]]

    def values(self, expression: str, label: str) -> dict[str, float]:
        """Evaluate PromQL now, and return the values by a label."""
        return {one["metric"].get(label, ""): float(one["value"][1]) for one in self.query(expression)}
