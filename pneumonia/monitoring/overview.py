"""Summarise the recorded events for people: counts over time, by code, and the distribution of the probabilities."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import sqlalchemy as sa

from pneumonia.monitoring.database import Database
from pneumonia.monitoring.tables import EVENTS

MOST_EVENTS = 10_000
"""Events that a summary looks at, the last ones."""
BARS = 48
"""Bars of the counts over time."""
EDGES = tuple(round(0.1 * step, 1) for step in range(11))
_SPANS = (60, 300, 900, 3600, 3 * 3600, 6 * 3600, 86_400, 7 * 86_400)


def summarise_events(database: Database, name: str, hours: float, now: float | None = None) -> dict[str, Any]:
    """Summarise the events of a registered model, whichever version answered.

    Args:
        database: of the events.
        name: of the registered model.
        hours: how far back, from now.
        now: seconds since 1970; for tests.

    Returns:
        ``images``, ``refused``, ``since`` (ISO 8601); ``bars``: ``at``, ``images``, ``refused``, ``positive`` and
        ``unfamiliar`` of each span of ``bar_seconds``; ``codes``: refusals by code; ``versions``: images by version;
        ``probability``: images in each tenth from 0 to 1.
    """
    now = time.time() if now is None else now
    columns = (EVENTS.c.at, EVENTS.c.code, EVENTS.c.decision, EVENTS.c.familiar, EVENTS.c.probability, EVENTS.c.version)
    last = (
        sa.select(*columns)
        .where(EVENTS.c.name == name, EVENTS.c.at >= now - 3600 * hours)
        .order_by(EVENTS.c.at.desc())
        .limit(MOST_EVENTS)
    )
    with database.begin() as connection:
        rows = list(reversed(connection.execute(last).all()))
    since = rows[0].at if len(rows) == MOST_EVENTS else now - 3600 * hours
    span = next((span for span in _SPANS if (now - since) / span <= BARS), _SPANS[-1])
    found = [row.probability for row in rows if row.probability is not None]
    return {
        "since": _iso(since),
        "images": len(rows),
        "refused": sum(bool(row.code) for row in rows),
        "bar_seconds": span,
        "bars": _bars(rows, since, now, span),
        "codes": dict(Counter(row.code for row in rows if row.code).most_common()),
        "versions": dict(Counter(row.version for row in rows)),
        "probability": count_probabilities(found),
    }


def count_probabilities(found: Sequence[float]) -> list[int]:
    """Count probabilities in each tenth from 0 to 1."""
    return [int(count) for count in np.histogram(np.asarray(found, dtype=np.float64), EDGES)[0]]


def _bars(rows: Sequence[sa.Row[Any]], since: float, now: float, span: int) -> list[dict[str, Any]]:
    first = int(since // span)
    bars: list[dict[str, Any]] = [
        {"at": _iso(at * span), "images": 0, "refused": 0, "positive": 0, "unfamiliar": 0}
        for at in range(first, int(now // span) + 1)
    ]
    for row in rows:
        place = int(row.at // span) - first
        if 0 <= place < len(bars):
            bar = bars[place]
            bar["images"] += 1
            bar["refused"] += bool(row.code)
            bar["positive"] += row.decision == "PNEUMONIA"
            bar["unfamiliar"] += not row.familiar
    return bars


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
