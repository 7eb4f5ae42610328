"""Seconds from a lost machine to a service that answers again, and how long an upgrade interrupts it, as JSON.

python benchmarks/restore.py > benchmarks/results/restore.json

Boots a stack of its own, as benchmarks/stack.py does, makes a champion of phantoms and a backup, and removes all
containers and volumes: what is left is the backup and .env, as on a new machine. Then the stack is started, restored, and
asked until its service is ready with the champion of before; images are in the builder's cache. At last the service's
container is replaced while it is asked every 50 ms. `load` is what the machine was doing before.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(ROOT)]  # in place of this folder, where stack.py would be the stack that the tests mean

from benchmarks.processor import processor
from tests.deployments.stack import Stack, eventually
from tests.deployments.stack_runs import SMALL

ASK_SECONDS = 0.05


def ready(stack: Stack) -> bool:
    """Say whether the service answers with a champion."""
    return requests.get(f"{stack.service_url}/readyz", timeout=5).status_code == 200


def until_ready(stack: Stack) -> None:
    """Wait until the service is ready."""
    eventually("the service is ready", lambda: ready(stack), 300, pause=0.2)


def timed(action: Any) -> float:
    """Return the seconds that an action takes."""
    began = time.monotonic()
    action()
    return round(time.monotonic() - began, 1)


def interruption(stack: Stack) -> float:
    """Replace the service's container, and return the longest time without a ready answer, seconds."""
    longest, over = 0.0, threading.Event()

    def ask() -> None:
        nonlocal longest
        last = time.monotonic()
        while not over.is_set():
            try:
                if requests.get(f"{stack.service_url}/readyz", timeout=1).status_code == 200:
                    longest, last = max(longest, time.monotonic() - last), time.monotonic()
            except requests.RequestException:
                time.sleep(0)  # no answer: the time without one goes on
            time.sleep(ASK_SECONDS)

    asking = threading.Thread(target=ask)
    asking.start()
    stack.compose("up", "--detach", "--no-deps", "--force-recreate", "--wait", "serving")
    until_ready(stack)
    over.set()
    asking.join()
    return round(longest, 2)


def measure(stack: Stack, folder: Path) -> dict[str, Any]:
    """Lose the stack and bring it back."""
    found: dict[str, Any] = {"load": os.getloadavg()[0], **processor()}
    stack.up()
    name = stack.trigger(SMALL)
    if (state := stack.finished(name)) != "success":
        raise SystemExit(f"{name} ended as {state}")
    until_ready(stack)
    backup = folder / "backup"
    found["backup"] = timed(lambda: stack.make("backup", f"BACKUP={backup}"))
    found["backup_megabytes"] = round(sum(path.stat().st_size for path in backup.iterdir()) / 1e6, 1)
    stack.compose("down", "--volumes", "--timeout", "5")
    began = time.monotonic()
    found["up"] = timed(stack.up)
    found["restore"] = timed(lambda: stack.restore(backup))
    until_ready(stack)
    found["in_all"] = round(time.monotonic() - began, 1)
    found["interruption"] = interruption(stack)
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
