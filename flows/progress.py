"""A step's progress as a Prefect artifact, and as a bar or lines on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from flows.heartbeat import Heartbeat, say
from pneumonia.progress import Progress as Report
from pneumonia.progress import stays

ARTIFACT_SECONDS = 2.0  # each update is a request to the server


@contextmanager
def reported(step: str) -> Iterator[Report]:
    """Yield the callback that a step reports to."""
    artifact: Any = create_progress_artifact(progress=0.0, key=step.replace("_", "-"), description=step)
    updated = time.monotonic()
    logger, logged = get_run_logger(), set[str]()
    console = Console(stderr=True, file=sys.stderr)
    columns = (
        TextColumn("{task.fields[step]:<14}"),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    visible = console.is_terminal
    with (
        Progress(*columns, console=console, disable=not visible) as bar,
        Heartbeat(step, visible) as heart,  # without a terminal a bar would be a line a step
    ):
        line = bar.add_task("", total=1.0, step=step)

        def tell(done: float, total: float, message: str = "") -> None:
            nonlocal updated
            share = done / total
            bar.update(line, completed=share, description=message)
            heart.doing = f"{step}: {100 * share:3.0f} % {message}"
            if message not in logged:
                logged.add(message)
                logger.info(message)
                if stays(message):
                    console.print(f"{step}: {message}", soft_wrap=True, markup=False, highlight=False)
            if time.monotonic() - updated > ARTIFACT_SECONDS:
                updated = time.monotonic()
                update_progress_artifact(artifact, progress=100 * share, description=f"{step}: {message}")

        yield tell
        bar.update(line, completed=1.0)
    say(f"{step}: done")
    update_progress_artifact(artifact, progress=100.0, description=f"{step}: done")
