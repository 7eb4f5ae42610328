"""Events and a database for the tests of monitoring, feedback and ingestion."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import numpy as np

from pneumonia.monitoring.database import Database
from pneumonia.monitoring.events import Event
from pneumonia.tracking.database import database_uri


def event(at: float = 1.0, model: str = "a" * 64, **members: Any) -> Event:
    """Return an event of an answered image."""
    named: dict[str, Any] = {
        "event_id": uuid.uuid4().hex, "at": at, "request_id": "r", "position": 0, "name": "pneumonia", "version": "1",
        "model_digest": model, "precision": "int8", "threshold": 0.5, "code": "", "familiar": True, "percentile": 3.0,
        "probability": 0.25, "margin": -1.1, "decision": "NORMAL", "checks": {},
        "statistics": np.arange(30, dtype=np.float32).tobytes(), "embedding": np.ones(8, np.float16).tobytes(),
    }  # fmt: skip
    return Event(**(named | members))


def database_in(folder: Path) -> Database:
    """Return a database in a file."""
    return Database(database_uri(folder / "events.db"))
