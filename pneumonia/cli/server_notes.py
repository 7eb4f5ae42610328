"""Which `pneumonia ui` runs on a work folder: a file for each, which counts as long as its process lives."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from pneumonia.files import write_text


@contextlib.contextmanager
def announced(folder: Path, ports: Sequence[int]) -> Iterator[None]:
    """Let others know that this process's servers hold `ports`.

    Raises:
        DataError: `folder` cannot be written.
    """
    mine = psutil.Process()
    note = write_text(
        folder / f"{mine.pid}.json",
        json.dumps({"pid": mine.pid, "started": mine.create_time(), "ports": list(ports)}),
    )
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def holder(folder: Path, port: int) -> int | None:
    """Return the process whose servers hold `port` by a note in `folder`; notes of processes that are gone go."""
    for path in folder.glob("*.json"):
        note = json.loads(path.read_text(encoding="utf-8"))
        if not _lives(note["pid"], note["started"]):
            path.unlink(missing_ok=True)
        elif port in note["ports"]:
            return int(note["pid"])
    return None


def _lives(pid: int, started: float) -> bool:
    """Tell a process from another that was given its number later."""
    try:
        return psutil.Process(pid).create_time() == started
    except psutil.NoSuchProcess:
        return False
