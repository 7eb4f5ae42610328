"""What the tests run on a cluster: calls that say where they began, and take long enough to be interrupted."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from pneumonia.errors import TrackingError
from pneumonia.inference import archive_worker

SECONDS = 0.7
archive_score = archive_worker.score_elsewhere


def note(folder: Path, name: str) -> None:
    """Leave a file for every call that began, and the process that it began in."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.{os.getppid()}.{os.urandom(4).hex()}").touch()


def slow(document: dict[str, Any]) -> int:
    """Take a while."""
    note(Path(document["folder"]), str(document["number"]))
    time.sleep(SECONDS)
    return int(document["number"]) ** 2


def slow_score(document: dict[str, Any], files: dict[str, bytes]) -> int:
    """Score a part slowly; its notes lie beside the folder of parts."""
    note(Path(document["parts"]).parent / "begun", document["part"][0])
    time.sleep(SECONDS)
    return archive_score(document, files)


def fails(document: dict[str, Any]) -> int:
    """Fail as a server that does not answer does, or as a wrong setting."""
    note(Path(document["folder"]), "fails")
    raise TrackingError("http://user:secret@127.0.0.1:1: no answer", permanent=document["permanent"])


def process_id(_: None) -> int:
    """Return the process that it runs in."""
    return os.getpid()
