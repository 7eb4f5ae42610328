"""The booted stack as its users see it: the make targets, Airflow's REST API, MLflow's REST API."""

from __future__ import annotations

import os
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
SMALL: dict[str, Any] = {
    "data.root": "phantom",
    "phantom.train": 120,
    "phantom.test": 48,
    "phantom.size": 64,
    "preprocess.size": 64,
    "train.epochs": 2,
    "train.batch_size": 32,
    "train.threads": 1,
    "train.device": "cpu",
    "train.precision": "fp32",
    "evaluate.bootstrap": 100,
    "gate.min_auroc": 0.0,
    "gate.min_sensitivity": 0.0,
    "gate.min_specificity": 0.0,
    "gate.max_shortcut_dependence": 2.0,
    "gate.max_auroc_loss": 1.0,
}
"""Settings of a training that takes seconds and whose model always passes."""
MODEL = "pneumonia-resnet18-phantom"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(what: str, seen: Callable[[], Any], timeout: float, pause: float = 1.0) -> Any:
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
    """One project of Compose, with an .env, ports and volumes of its own.

    Attributes:
        up_output: what the last `make up` printed.
        up_seconds: how long it took.
        busy: whether the machine had more to do than it has cores before that.
    """

    def __init__(self, folder: Path, project: str) -> None:
        self.folder, self.project = folder, project
        self.env_file = folder / "stack.env"
        self.ports = {name: free_port() for name in ("POSTGRES_PORT", "MLFLOW_PORT", "AIRFLOW_PORT")}
        self.env_file.write_text("".join(f"{name}={port}\n" for name, port in self.ports.items()))
        self.env_file.chmod(0o600)
        self.airflow_url = f"http://127.0.0.1:{self.ports['AIRFLOW_PORT']}"
        self.mlflow_url = f"http://127.0.0.1:{self.ports['MLFLOW_PORT']}"
        self.up_output, self.up_seconds, self.busy = "", 0.0, False
        self._token = ""

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "COMPOSE_PROJECT_NAME": self.project,
            "ENV_FILE": str(self.env_file),
            "STACK_VERSION": "test",
            "COMPOSE_PROGRESS": "plain",
        }

    def make(self, *arguments: str, timeout: float = 600, check: bool = True) -> str:
        """Run a make target and return what it printed."""
        done = subprocess.run(
            ["make", "--no-print-directory", *arguments],
            cwd=ROOT,
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
        began, busy = time.monotonic(), os.getloadavg()[0] > (os.cpu_count() or 1)
        self.up_output = self.make("up", *arguments, timeout=1200)
        self.up_seconds, self.busy, self._token = time.monotonic() - began, busy, ""

    def compose(self, *arguments: str, timeout: float = 180, check: bool = True) -> str:
        done = subprocess.run(
            ["docker", "compose", "--env-file", str(self.env_file), *arguments],
            cwd=ROOT,
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
        return answer.json()

    def trigger(self, conf: dict[str, Any], dag: str = FAST) -> str:
        """Start a run with these values in its form, and return its id."""
        return str(self.airflow("POST", f"dags/{dag}/dagRuns", {"logical_date": None, "conf": conf})["dag_run_id"])

    def state(self, run: str, dag: str = FAST) -> str:
        return str(self.airflow("GET", f"dags/{dag}/dagRuns/{run}")["state"])

    def tasks(self, run: str, dag: str = FAST) -> dict[str, dict[str, Any]]:
        found = self.airflow("GET", f"dags/{dag}/dagRuns/{run}/taskInstances")["task_instances"]
        return {task["task_id"]: task for task in found}

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
        answer = requests.request(method, f"{self.mlflow_url}/api/2.0/mlflow/{path}", timeout=60, **carried)
        if answer.status_code >= 500:
            answer.raise_for_status()
        assert answer.status_code == 200, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def mlflow_runs(self, key: str, experiment: str = "pneumonia") -> list[dict[str, Any]]:
        """Return the runs of a training's key."""
        found = self.mlflow("GET", "experiments/get-by-name", experiment_name=experiment)["experiment"]
        query = {"experiment_ids": [found["experiment_id"]], "filter": f"tags.`pneumonia.key` = '{key}'"}
        return list(self.mlflow("POST", "runs/search", **query).get("runs", []))

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        found = self.mlflow("GET", "metrics/get-history", run_id=run_id, metric_key=metric).get("metrics", [])
        return [(int(entry.get("step", 0)), float(entry["value"])) for entry in found]

    def versions(self, name: str = MODEL) -> list[dict[str, Any]]:
        found = self.mlflow("GET", "model-versions/search", filter=f"name = '{name}'")
        return list(found.get("model_versions", []))
