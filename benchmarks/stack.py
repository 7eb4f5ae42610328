"""Seconds until the Compose stack is healthy, seconds of a DAG run, and its memory, as JSON.

python benchmarks/stack.py

Boots a stack of its own beside any other, with ports, images and volumes of its own, and removes it. Measured are the
first `make up` (what the builder has in its cache is not built again), one from built images on empty volumes, one
after `make down`; then a run that trains for seconds and the same run again, which finds its training done. The memory
is that of all containers, when idle and after the runs. `load` is what the machine was doing before: seconds mean
something only where that is near 0.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:1] = [str(ROOT)]  # in place of this folder, where this file would be the stack that the tests mean

from benchmarks.processor import processor
from tests.deployments.stack import Stack
from tests.deployments.stack_runs import SMALL


def run(stack: Stack) -> dict[str, float]:
    """Return the seconds of a run from the trigger to its end, and of each task."""
    began = time.monotonic()
    name = stack.trigger(SMALL)
    state = stack.finished(name)
    seconds = time.monotonic() - began
    if state != "success":
        raise SystemExit(f"{name} ended as {state}")
    tasks = sorted(stack.tasks(name).items(), key=lambda task: str(task[1]["start_date"]))
    return {"all": round(seconds, 1)} | {task: round(found["duration"] or 0.0, 1) for task, found in tasks}


def measure(stack: Stack) -> dict[str, Any]:
    """Boot the stack three times, run the DAG twice."""
    found: dict[str, Any] = {"load": os.getloadavg()[0], **processor()}
    stack.up()
    found["up_first"] = round(stack.up_seconds, 1)
    stack.compose("down", "--volumes")
    stack.up()
    found["up_from_images"] = round(stack.up_seconds, 1)
    stack.make("down")
    stack.up()
    found["up_again"] = round(stack.up_seconds, 1)
    found["memory_idle_mib"] = stack.memory() // 2**20
    found["run"] = run(stack)
    found["run_again"] = run(stack)
    found["memory_after_mib"] = stack.memory() // 2**20
    return found


def main() -> None:
    """Print what was measured."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder), f"pneumonia-benchmark-{os.getpid()}")
        try:
            print(json.dumps(measure(stack), indent=2))
        finally:
            stack.remove()


if __name__ == "__main__":
    main()
