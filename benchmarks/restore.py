"""Seconds from a lost machine to a stack that is back, and how long an upgrade interrupts the service, as JSON.

python benchmarks/restore.py > benchmarks/results/restore.json

Boots a stack of its own, as benchmarks/stack.py does, logs an MLflow run with as many bytes as ResNet18's weights have,
makes a backup, and removes all containers and volumes: what is left is the backup and .env, as on a new machine, and
the builder's cache. Then the stack is started and restored, and the run's bytes are compared. At last the service's
container is replaced while it is asked every 50 ms. `load` is what the machine was doing before.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(ROOT)]  # in place of this folder, where stack.py would be the stack that the tests mean

from benchmarks.processor import processor
from tests.deployments.stack import Stack, eventually

ASK_SECONDS = 0.05
WEIGHTS_BYTES = 44_800_000


def alive(stack: Stack) -> bool:
    """Say whether the service answers."""
    try:
        return requests.get(f"{stack.service_url}/healthz", timeout=1).status_code == 200
    except requests.RequestException:
        return False


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that an action takes."""
    began = time.monotonic()
    action()
    return round(time.monotonic() - began, 1)


class Run:
    """A run of MLflow's with one artifact of random bytes, through its REST API."""

    def __init__(self, stack: Stack) -> None:
        """Log the run."""
        settings = stack.settings()
        self.login = (settings["MLFLOW_ADMIN_USER"], settings["MLFLOW_ADMIN_PASSWORD"])
        content = os.urandom(WEIGHTS_BYTES)
        self.digest = hashlib.sha256(content).hexdigest()
        api = f"{stack.mlflow_url}/api/2.0/mlflow"
        body = {"experiment_id": "0", "start_time": int(time.time() * 1000)}
        answer = requests.post(f"{api}/runs/create", json=body, auth=self.login, timeout=60)
        answer.raise_for_status()
        self.id = answer.json()["run"]["info"]["run_id"]
        self.place = f"{stack.mlflow_url}/api/2.0/mlflow-artifacts/artifacts/0/{self.id}/artifacts/weights.bin"
        requests.put(self.place, data=content, auth=self.login, timeout=300).raise_for_status()

    def is_there(self) -> bool:
        """Say whether the artifact has the bytes that were logged."""
        answer = requests.get(self.place, auth=self.login, timeout=300)
        return answer.ok and hashlib.sha256(answer.content).hexdigest() == self.digest


def interruption(stack: Stack) -> float:
    """Replace the service's container, and return the longest time without an answer, seconds."""
    longest, over = 0.0, threading.Event()

    def ask() -> None:
        nonlocal longest
        last = time.monotonic()
        while not over.is_set():
            if alive(stack):
                longest, last = max(longest, time.monotonic() - last), time.monotonic()
            time.sleep(ASK_SECONDS)

    asking = threading.Thread(target=ask)
    asking.start()
    stack.compose("up", "--detach", "--no-deps", "--force-recreate", "--wait", "serving", timeout=600)
    eventually("the service answers", lambda: alive(stack), 300)
    over.set()
    asking.join()
    return round(longest, 2)


def measure(stack: Stack, folder: Path) -> dict[str, Any]:
    """Lose the stack and bring it back."""
    found: dict[str, Any] = {"load": round(os.getloadavg()[0], 2), **processor()}
    stack.up()
    run = Run(stack)
    backup = folder / "backup"
    found["backup"] = timed(lambda: stack.make("backup", f"BACKUP={backup}"))
    found["backup_megabytes"] = round(sum(path.stat().st_size for path in backup.iterdir()) / 1e6, 1)
    stack.compose("down", "--volumes", "--timeout", "5")
    found["up"] = timed(stack.up)
    assert not run.is_there(), "the run outlived its stack"
    found["restore"] = timed(lambda: stack.restore(backup))
    found["run_is_back"] = run.is_there()
    found["interruption"] = interruption(stack)
    found["load_after"] = round(os.getloadavg()[0], 2)
    return found


def main() -> None:
    """Print what was measured."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder), f"pneumonia-restore-{os.getpid()}")
        try:
            print(json.dumps(measure(stack, Path(folder)), indent=2))
        finally:
            stack.remove()


if __name__ == "__main__":
    main()
