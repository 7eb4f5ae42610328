"""Define an event, what is recorded of an image that was answered, and store events. No pixels, no names."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from pneumonia.monitoring.database import Database
from pneumonia.monitoring.tables import EVENTS, FEEDBACK

_BATCH = 500
_BINARY = ("statistics", "embedding")


@dataclass(frozen=True)
class Event:
    """What is recorded of one image that the service answered or refused.

    Attributes:
        event_id: of this event, 32 hexadecimal digits.
        at: seconds since 1970, UTC.
        request_id, position: the request, and the place of the image in it.
        name, version, model_digest, precision: the model that answered.
        probability, margin, decision: of PNEUMONIA, its logit less that of NORMAL, and the class; None for a refusal.
        threshold: of the decision.
        code: why the image was refused; empty where it was not.
        familiar, percentile: of the input check.
        checks: findings of the input check, JSON values.
        statistics: float32 [30] as bytes (`pneumonia.imaging.image_statistics`); None for an unreadable file.
        embedding: float16 [C] as bytes; None where nothing was computed.
        study, patient: keyed hashes of the identifiers in a DICOM file; None where there are none.
        image: name of the file that was kept; None where none was.
    """

    event_id: str
    at: float
    request_id: str
    position: int
    name: str
    version: str
    model_digest: str
    precision: str
    threshold: float
    code: str
    familiar: bool
    percentile: float
    probability: float | None = None
    margin: float | None = None
    decision: str | None = None
    checks: Mapping[str, Any] = field(default_factory=dict)
    statistics: bytes | None = None
    embedding: bytes | None = None
    study: str | None = None
    patient: str | None = None
    image: str | None = None

    def line(self) -> str:
        """Return the event as one line of JSON, binary members in base64."""
        found = dict(vars(self))
        for name in _BINARY:
            if found[name] is not None:
                found[name] = base64.b64encode(found[name]).decode("ascii")
        return json.dumps(found, ensure_ascii=True, separators=(",", ":"))

    @classmethod
    def of_line(cls, line: str) -> Event:
        """Read what `line` has written.

        Raises:
            ValueError: it is no such line.
        """
        found = json.loads(line)
        for name in _BINARY:
            if found[name] is not None:
                found[name] = base64.b64decode(found[name])
        try:
            return cls(**found)
        except TypeError as error:
            raise ValueError(str(error)) from None

    def row(self) -> dict[str, Any]:
        """Return the values of the table's columns."""
        return {**vars(self), "checks": json.dumps(self.checks)}


def add_events(database: Database, events: Sequence[Event]) -> int:
    """Store events; those that are there already stay as they are, so that a repetition doubles nothing.

    Returns:
        The number of events that are stored now, each counted once.

    Raises:
        MonitoringError: the database is away.
    """
    with database.begin() as connection:
        for start in range(0, len(events), _BATCH):
            rows = [event.row() for event in events[start : start + _BATCH]]
            connection.execute(database.insert_ignoring(EVENTS), rows)
    return len({event.event_id for event in events})


def read_window(database: Database, model_digest: str, images: int, since: float = 0.0) -> Sequence[sa.RowMapping]:
    """Return the last events of a model, oldest first.

    Args:
        database: of the events.
        model_digest: of the model that answered.
        images: most events.
        since: seconds since 1970; older events are left out.
    """
    last = (
        sa.select(EVENTS)
        .where(EVENTS.c.model_digest == model_digest, EVENTS.c.at >= since)
        .order_by(EVENTS.c.id.desc())
        .limit(images)
    )
    with database.begin() as connection:
        found = connection.execute(last).mappings().all()
    return list(reversed(found))


def find_event(database: Database, event_id: str) -> sa.RowMapping | None:
    """Return an event; None where there is none of this id."""
    with database.begin() as connection:
        return connection.execute(sa.select(EVENTS).where(EVENTS.c.event_id == event_id)).mappings().first()


def delete_old_events(database: Database, days: int, now: float | None = None) -> int:
    """Delete events, and the feedback about them, that are older than a number of days; 0 deletes none.

    Returns:
        The number of events that were deleted.
    """
    if not days:
        return 0
    before = (time.time() if now is None else now) - days * 86_400
    old = sa.select(EVENTS.c.event_id).where(EVENTS.c.at < before)
    with database.begin() as connection:
        connection.execute(sa.delete(FEEDBACK).where(FEEDBACK.c.event_id.in_(old)))
        return int(connection.execute(sa.delete(EVENTS).where(EVENTS.c.at < before)).rowcount)


def count_events(database: Database) -> int:
    """Return the number of events."""
    with database.begin() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(EVENTS)).scalar_one())


def statistics_of(row: sa.RowMapping, count: int) -> NDArray[np.float32]:
    """Return an event's image statistics, float32 [count]; NaN where it has none, or those of another release."""
    content = row["statistics"]
    found = np.frombuffer(content, np.float32) if content is not None else np.zeros(0, np.float32)
    return found if len(found) == count else np.full(count, np.nan, np.float32)


def embedding_of(row: sa.RowMapping, size: int) -> NDArray[np.float32]:
    """Return an event's embedding, float32 [size]; NaN where it has none."""
    content = row["embedding"]
    found = np.frombuffer(content, np.float16).astype(np.float32) if content is not None else np.zeros(0, np.float32)
    return found if len(found) == size else np.full(size, np.nan, np.float32)
