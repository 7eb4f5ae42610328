"""Keep the loops: a retraining or recalibration that an alarm has started, of which there is one at a time.

A loop is open from `begin` to `finish`. Whoever works on it holds a lease, which is renewed; a holder that was killed
leaves it to expire, and the next one takes the loop over and does its steps again, which are finished already where
they were. The trace id follows from the drift verdict, so that one alarm never makes two loops.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa

from pneumonia.errors import MonitoringError
from pneumonia.monitoring.database import Database
from pneumonia.monitoring.tables import LOOPS
from pneumonia.records.base import Document

Action = Literal["retrain", "recalibrate"]
Outcome = Literal["promoted", "refused", "failed"]
PROMOTED: Outcome = "promoted"
REFUSED: Outcome = "refused"
RENEWALS = 3
"""Times that the lease of a loop is renewed while it lasts."""
Status = Literal["begun", "continued", "running", "cooling down", "done"]

logger = logging.getLogger(__name__)


class Loop(Document):
    """A loop.

    Attributes:
        trace_id: 32 hexadecimal digits, in logs, tags of runs, the ledger and metrics.
        at: when it began, seconds since 1970; feedback that came later is the next loop's.
        name, version: the champion that the alarm was about.
        kind: of the change.
        action: what is done.
        verdict: key of the drift verdict.
        holder: who works on it.
        taken_over: how often another has taken it over.
        outcome, words, new_version, finished: what came of it; None while it is open.
    """

    trace_id: str
    at: float
    name: str
    version: str
    kind: str
    action: Action
    verdict: str
    holder: str
    taken_over: int
    outcome: Outcome | None
    words: str
    new_version: str | None
    finished: float | None


class Claim(NamedTuple):
    """What `begin` came to: whether the caller may work, and on which loop."""

    status: Status
    loop: Loop | None


class Wish(NamedTuple):
    """A loop that is to begin.

    Attributes:
        name, version: of the champion.
        kind: of the change.
        action: what is to be done.
        verdict: key of the drift verdict.
        holder: name of the orchestrator's run; a retry within the same run is the same holder.
    """

    name: str
    version: str
    kind: str
    action: Action
    verdict: str
    holder: str


def trace_id(verdict: str) -> str:
    """Return the trace id of the loop that a drift verdict starts."""
    return hashlib.sha256(f"loop {verdict}".encode()).hexdigest()[:32]


def begin(database: Database, wish: Wish, lease: float, cooldown: float, now: float | None = None) -> Claim:
    """Begin a loop, unless one is open or the last one has ended a short time ago.

    Args:
        database: of the loops.
        wish: which loop.
        lease: seconds for which the holder is taken to be alive.
        cooldown: seconds after the end of a loop in which none begins.
        now: seconds since 1970; for tests.
    """
    now = time.time() if now is None else now
    trace = trace_id(wish.verdict)
    with database.begin() as connection:
        if (there := _open(connection, wish.name)) is not None:
            return Claim("running", there)
        if (known := _of(connection, LOOPS.c.trace_id == trace)) is not None:
            return Claim("done", known)
        if (ended := _last_end(connection, wish.name)) is not None and now < ended + cooldown:
            return Claim("cooling down", None)
        row = {
            **wish._asdict(), "trace_id": trace, "at": now, "open_name": wish.name, "lease_until": now + lease,
            "taken_over": 0, "words": "",
        }  # fmt: skip
        connection.execute(database.insert_ignoring(LOOPS), [row])
    found = find_loop(database, trace)
    if found is None or found.holder != wish.holder:  # another was first
        return Claim("running", found)
    return Claim("begun", found)


def take_over(database: Database, name: str, holder: str, lease: float, now: float | None = None) -> Claim | None:
    """Take over the open loop of a model, whose holder is gone or is the caller itself.

    Returns:
        None where no loop is open; otherwise ``continued``, or ``running`` where its holder is alive.
    """
    now = time.time() if now is None else now
    with database.begin() as connection:
        there = _open(connection, name)
        if there is None:
            return None
        free = (LOOPS.c.lease_until < now) | (LOOPS.c.holder == holder)
        taken = connection.execute(
            sa.update(LOOPS)
            .where(LOOPS.c.trace_id == there.trace_id, LOOPS.c.open_name.is_not(None), free)
            .values(holder=holder, lease_until=now + lease, taken_over=LOOPS.c.taken_over + 1)
        )
    return Claim("continued" if taken.rowcount else "running", find_loop(database, there.trace_id))


def renew(database: Database, trace: str, holder: str, lease: float) -> bool:
    """Renew the lease of a loop; False where another holds it by now, or it has ended."""
    with database.begin() as connection:
        renewed = connection.execute(
            sa.update(LOOPS)
            .where(LOOPS.c.trace_id == trace, LOOPS.c.holder == holder, LOOPS.c.open_name.is_not(None))
            .values(lease_until=time.time() + lease)
        )
    return bool(renewed.rowcount)


@contextlib.contextmanager
def held(database: Database, trace: str, holder: str, lease: float) -> Iterator[None]:
    """Renew the lease of a loop while the block runs; a database that is away for a while is asked again."""
    ended = threading.Event()

    def keep() -> None:
        while not ended.wait(lease / RENEWALS):
            try:
                if not renew(database, trace, holder, lease):
                    logger.warning("loop %s has another holder by now, or has ended", trace)
            except MonitoringError as error:
                logger.warning("the lease of loop %s could not be renewed: %s", trace, error)

    thread = threading.Thread(target=keep, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def finish(database: Database, trace: str, outcome: Outcome, words: str, new_version: str | None = None) -> Loop:
    """End a loop; one that has ended keeps its outcome."""
    with database.begin() as connection:
        connection.execute(
            sa.update(LOOPS)
            .where(LOOPS.c.trace_id == trace, LOOPS.c.open_name.is_not(None))
            .values(outcome=outcome, words=words, new_version=new_version, finished=time.time(), open_name=None)
        )
    found = find_loop(database, trace)
    if found is None:
        raise ValueError(f"no loop {trace}")
    return found


def find_loop(database: Database, trace: str) -> Loop | None:
    """Return a loop; None where there is none of this trace id."""
    with database.begin() as connection:
        return _of(connection, LOOPS.c.trace_id == trace)


def last_loops(database: Database, name: str, count: int = 1) -> Sequence[Loop]:
    """Return the last loops about a registered model, the latest first."""
    last = sa.select(LOOPS).where(LOOPS.c.name == name).order_by(LOOPS.c.at.desc()).limit(count)
    with database.begin() as connection:
        return [_read(row) for row in connection.execute(last).mappings()]


def count_loops(database: Database, name: str) -> dict[tuple[str, str], int]:
    """Count the loops that have ended, by action and outcome."""
    counts = (
        sa.select(LOOPS.c.action, LOOPS.c.outcome, sa.func.count())
        .where(LOOPS.c.name == name, LOOPS.c.outcome.is_not(None))
        .group_by(LOOPS.c.action, LOOPS.c.outcome)
    )
    with database.begin() as connection:
        return {(action, outcome): count for action, outcome, count in connection.execute(counts)}


def _open(connection: sa.Connection, name: str) -> Loop | None:
    return _of(connection, LOOPS.c.open_name == name)


def _of(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> Loop | None:
    row = connection.execute(sa.select(LOOPS).where(condition)).mappings().first()
    return None if row is None else _read(row)


def _read(row: Mapping[Any, Any]) -> Loop:
    return Loop.model_validate({key: row[key] for key in Loop.model_fields})


def _last_end(connection: sa.Connection, name: str) -> float | None:
    judged = LOOPS.c.outcome.in_((PROMOTED, REFUSED))  # a loop that has failed before its gate need not cool down
    last = sa.select(sa.func.max(LOOPS.c.finished)).where(LOOPS.c.name == name, judged)
    return connection.execute(last).scalar()
