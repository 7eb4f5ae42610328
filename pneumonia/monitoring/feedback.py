"""Store what readers say of events, and settle labels: by two readers who agree, or by an adjudicator.

A label settles where two readers gave it and nobody another, or where an adjudicator gave it, whose last label counts.
Readers who gave different labels leave the event disputed, whatever their number; a single label, or none, leaves it
open. Only settled labels measure or train a model.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from pneumonia.config.schema import CLASSES
from pneumonia.data.patient_key import Pseudonyms
from pneumonia.errors import FeedbackError, UnknownEventError
from pneumonia.monitoring.database import Database
from pneumonia.monitoring.tables import EVENTS, FEEDBACK
from pneumonia.records.feedback import (
    NOTE_LETTERS,
    READER_LETTERS,
    SAID,
    STATES,
    Feedback,
    Label,
    ReviewedEvent,
    Role,
    Said,
    State,
)

_NEVER = 1e12  # seconds since 1970
_IDS = 500  # event ids in one query: SQLite takes 999 variables in its older releases
_COPIED = (
    *("event_id", "at", "name", "version", "model_digest", "probability", "margin", "decision", "threshold", "code"),
    *("study", "patient", "image"),
)


def give_feedback(
    database: Database,
    event_id: str,
    reader: str,
    verdict: Said,
    label: Label | None = None,
    note: str = "",
    role: Role = "reader",
    at: float | None = None,
) -> Feedback:
    """Store a reader's word on an event; a later one of the same reader replaces it.

    Args:
        database: of the events.
        event_id: what is spoken about.
        reader: who speaks, 1 to 64 characters.
        verdict: of the model's decision.
        label: of the image; by default the decision where the reader agrees, the other class where not.
        note: up to 1,000 characters.
        role: of the speaker; nobody is both in one event, so that no reader settles a dispute of their own.
        at: seconds since 1970; now by default.

    Returns:
        What is stored.

    Raises:
        UnknownEventError: there is no such event.
        FeedbackError: the words contradict each other, or are too long; nothing is stored.
        MonitoringError: the database is away.
    """
    reader, note = reader.strip(), note.strip()
    _check_words(reader, verdict, label, note, role)
    with database.begin() as connection:
        decision = _decision(connection, event_id)
        said = Feedback(
            event_id=event_id,
            reader=reader,
            role=role,
            verdict=verdict,
            label=_label(verdict, label, decision),
            note=note,
            at=time.time() if at is None else at,
        )
        _check_role(connection, said)
        connection.execute(database.insert_replacing(FEEDBACK, ("event_id", "reader")), [said.model_dump()])
    return said


def reader_pseudonym(pseudonyms: Pseudonyms, name: str) -> str:
    """Return the pseudonym of a reader or adjudicator; case and blanks around a name do not matter."""
    return pseudonyms.of(f"reader {name.strip().casefold()}").replace("id-", "reader-", 1)


def _check_words(reader: str, verdict: str, label: str | None, note: str, role: str) -> None:
    if "\0" in reader + note:
        raise FeedbackError("reader and note: a character that no text holds (U+0000); leave it out")
    if not 0 < len(reader) <= READER_LETTERS:
        raise FeedbackError(f"reader: {len(reader)} characters; 1 to {READER_LETTERS} are needed")
    if verdict not in SAID:
        raise FeedbackError(f"verdict: {verdict!r} is none of {', '.join(SAID)}")
    if label is not None and label not in CLASSES:
        raise FeedbackError(f"label: {label!r} is none of {', '.join(CLASSES)}")
    if role not in ("reader", "adjudicator"):
        raise FeedbackError(f"role: {role!r} is none of reader, adjudicator")
    if len(note) > NOTE_LETTERS:
        raise FeedbackError(f"note: {len(note)} characters; at most {NOTE_LETTERS} are stored")


def _decision(connection: sa.Connection, event_id: str) -> str | None:
    found = connection.execute(sa.select(EVENTS.c.decision).where(EVENTS.c.event_id == event_id)).first()
    if found is None:
        raise UnknownEventError(f"there is no event {event_id[:40]}; it may have been deleted after its retention")
    return None if found[0] is None else str(found[0])


def _label(verdict: Said, label: Label | None, decision: str | None) -> Label | None:
    """Return the label that the words give; refuse those that contradict the decision."""
    if verdict == "unsure":
        if label is not None:
            raise FeedbackError(f"unsure, and the label {label}: give a label with agree or disagree, or none")
        return None
    if decision is None:
        if label is None:
            raise FeedbackError("the image was refused, so that there is no decision: give a label, or say unsure")
        return label
    meant = decision if verdict == "agree" else next(name for name in CLASSES if name != decision)
    if label is not None and label != meant:
        raise FeedbackError(f"{verdict}, and the label {label}: the model's decision is {decision}; give {meant}")
    return "PNEUMONIA" if meant == "PNEUMONIA" else "NORMAL"


def _check_role(connection: sa.Connection, said: Feedback) -> None:
    mine = sa.and_(FEEDBACK.c.event_id == said.event_id, FEEDBACK.c.reader == said.reader)
    before = connection.execute(sa.select(FEEDBACK.c.role).where(mine)).scalar()
    if before not in (None, said.role):
        raise FeedbackError(
            f"{said.reader} has spoken about this event as {before}, and cannot as {said.role}: "
            "a dispute is settled by somebody who took no part in it"
        )


def words_about(database: Database, event_id: str) -> tuple[Feedback, ...]:
    """Return what was said of an event, oldest first."""
    asked = sa.select(FEEDBACK).where(FEEDBACK.c.event_id == event_id).order_by(FEEDBACK.c.at, FEEDBACK.c.id)
    with database.begin() as connection:
        rows = connection.execute(asked).mappings().all()
    return tuple(_feedback(row) for row in rows)


def _feedback(row: sa.RowMapping) -> Feedback:
    return Feedback.model_validate({name: row[name] for name in Feedback.model_fields})


def _settlement(until: float = math.inf) -> sa.Subquery:
    """Return one row an event that anybody spoke about: readers, words, state, label, how."""
    given = FEEDBACK.c.label.is_not(None)
    readers_label = sa.case((sa.and_(FEEDBACK.c.role == "reader", given), FEEDBACK.c.label))
    readers = (
        sa.select(
            FEEDBACK.c.event_id,
            sa.func.count(readers_label).label("readers"),
            sa.func.count().label("words"),
            sa.func.min(readers_label).label("low"),
            sa.func.max(readers_label).label("high"),
        )
        .where(FEEDBACK.c.at <= min(until, _NEVER))
        .group_by(FEEDBACK.c.event_id)
        .subquery()
    )
    last = sa.func.row_number().over(
        partition_by=FEEDBACK.c.event_id, order_by=(FEEDBACK.c.at.desc(), FEEDBACK.c.id.desc())
    )
    ranked = sa.select(FEEDBACK.c.event_id, FEEDBACK.c.label, last.label("rank"))
    ranked = ranked.where(FEEDBACK.c.role == "adjudicator", given, FEEDBACK.c.at <= min(until, _NEVER))
    adjudicated = ranked.subquery()
    decided = adjudicated.c.label.is_not(None)
    agreed = sa.and_(readers.c.readers >= 2, readers.c.low == readers.c.high)
    same_event = sa.and_(adjudicated.c.event_id == readers.c.event_id, adjudicated.c.rank == 1)
    return (
        sa.select(
            readers.c.event_id,
            readers.c.readers,
            readers.c.words,
            sa.case((decided, adjudicated.c.label), (agreed, readers.c.low)).label("label"),
            sa.case((decided, "adjudicator"), (agreed, "readers")).label("how"),
            sa.case(
                (sa.or_(decided, agreed), "settled"), (readers.c.low != readers.c.high, "disputed"), else_="open"
            ).label("state"),
        )
        .outerjoin_from(readers, adjudicated, same_event)
        .subquery()
    )


def reviewed_events(
    database: Database,
    *,
    name: str | None = None,
    model_digest: str | None = None,
    state: State | None = None,
    since: float = 0.0,
    until: float = math.inf,
    event_ids: Sequence[str] | None = None,
) -> list[ReviewedEvent]:
    """Return the events that readers have spoken about, oldest first.

    Args:
        database: of the events.
        name: registered model; all by default.
        model_digest: of the model that answered; all by default.
        state: of the label; all by default.
        since: seconds since 1970; older events are left out.
        until: seconds since 1970; what was said later is left out.
        event_ids: these alone.
    """
    found = _settlement(until)
    columns = [EVENTS.c[column] for column in _COPIED]
    asked = sa.select(*columns, found.c.state, found.c.label, found.c.how, found.c.readers, found.c.words)
    asked = asked.join(found, found.c.event_id == EVENTS.c.event_id).where(EVENTS.c.at >= since)
    asked = asked.where(EVENTS.c.name == name) if name is not None else asked
    asked = asked.where(EVENTS.c.model_digest == model_digest) if model_digest is not None else asked
    asked = asked.where(found.c.state == state) if state is not None else asked
    asked = asked.order_by(EVENTS.c.at, EVENTS.c.id)
    rows: list[sa.RowMapping] = []
    with database.begin() as connection:
        for part in [None] if event_ids is None else _parts(event_ids):
            some = asked if part is None else asked.where(EVENTS.c.event_id.in_(part))
            rows += connection.execute(some).mappings().all()
    return [ReviewedEvent.model_validate(dict(row)) for row in rows]


def _parts(event_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (event_ids[start : start + _IDS] for start in range(0, len(event_ids), _IDS))


def settled(
    database: Database,
    *,
    name: str | None = None,
    model_digest: str | None = None,
    since: float = 0.0,
    until: float = math.inf,
) -> list[ReviewedEvent]:
    """Return the events whose label has settled, oldest first; see `reviewed_events`."""
    return reviewed_events(database, name=name, model_digest=model_digest, state="settled", since=since, until=until)


def count_states(database: Database, name: str | None = None) -> dict[State, int]:
    """Return the number of events by the state of their label, of a registered model or of all."""
    found = _settlement()
    asked = sa.select(found.c.state, sa.func.count()).group_by(found.c.state)
    if name is not None:
        asked = asked.join_from(found, EVENTS, EVENTS.c.event_id == found.c.event_id).where(EVENTS.c.name == name)
    with database.begin() as connection:
        counted: dict[Any, int] = {row[0]: row[1] for row in connection.execute(asked)}
    return {state: counted.get(state, 0) for state in STATES}


def count_verdicts(database: Database, name: str | None = None) -> dict[Said, int]:
    """Return how many readers agree, disagree and are unsure, about a registered model or about all."""
    asked = sa.select(FEEDBACK.c.verdict, sa.func.count()).group_by(FEEDBACK.c.verdict)
    if name is not None:
        asked = asked.join_from(FEEDBACK, EVENTS, EVENTS.c.event_id == FEEDBACK.c.event_id).where(EVENTS.c.name == name)
    with database.begin() as connection:
        counted: dict[Any, int] = {row[0]: row[1] for row in connection.execute(asked)}
    return {verdict: counted.get(verdict, 0) for verdict in SAID}


def labels_for(database: Database, event_ids: Sequence[str]) -> dict[str, int]:
    """Return the settled labels of events, 0 NORMAL or 1 PNEUMONIA, by event; the others are left out."""
    found = _settlement()
    asked = sa.select(found.c.event_id, found.c.label).where(found.c.label.is_not(None))
    labels: dict[str, int] = {}
    with database.begin() as connection:
        for part in _parts(event_ids):
            rows = connection.execute(asked.where(found.c.event_id.in_(part)))
            labels |= {event: CLASSES.index(label) for event, label in rows}
    return labels


def calibration_pairs(
    database: Database, model_digest: str, since: float = 0.0, until: float = math.inf
) -> tuple[NDArray[np.float64], NDArray[np.uint8], list[str]]:
    """Return what an operating point is found from: answered events of a model with settled labels.

    Args:
        database: of the events.
        model_digest: of the model that answered.
        since: seconds since 1970; older events are left out.
        until: seconds since 1970; what was said later is left out.

    Returns:
        Margins float64 [n], the logit of PNEUMONIA less that of NORMAL; labels uint8 [n]; and patients [n]: their
        keyed hash, without one the kept image's name, without that the event, so that each is one of its own.
    """
    found = settled(database, model_digest=model_digest, since=since, until=until)
    rows = [row for row in found if row.margin is not None]
    return (
        np.array([row.margin for row in rows], np.float64),
        np.array([CLASSES.index(str(row.label)) for row in rows], np.uint8),
        [row.patient or row.image or row.event_id for row in rows],
    )


def reader_labels(
    database: Database, name: str | None = None, model_digest: str | None = None
) -> list[tuple[str, str, Label]]:
    """Return every label that a reader gave: event, reader, label; adjudicators are left out."""
    asked = sa.select(FEEDBACK.c.event_id, FEEDBACK.c.reader, FEEDBACK.c.label)
    asked = asked.join_from(FEEDBACK, EVENTS, EVENTS.c.event_id == FEEDBACK.c.event_id)
    asked = asked.where(FEEDBACK.c.role == "reader", FEEDBACK.c.label.is_not(None)).order_by(FEEDBACK.c.id)
    asked = asked.where(EVENTS.c.name == name) if name is not None else asked
    asked = asked.where(EVENTS.c.model_digest == model_digest) if model_digest is not None else asked
    with database.begin() as connection:
        return [(event, reader, label) for event, reader, label in connection.execute(asked)]
