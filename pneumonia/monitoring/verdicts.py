"""Store drift verdicts, and read them: the latest, and those of a time."""

from __future__ import annotations

import time
from collections.abc import Sequence

import sqlalchemy as sa

from pneumonia.monitoring.database import Database
from pneumonia.monitoring.tables import VERDICTS
from pneumonia.records.drift import DriftVerdict


def store_verdict(database: Database, key: str, verdict: DriftVerdict) -> DriftVerdict:
    """Store a verdict under a key of model, window and settings; return what is stored under it."""
    row = {
        "key": key,
        "at": time.time(),
        "name": verdict.name,
        "version": verdict.version,
        "model_digest": verdict.model_digest,
        "alarm": verdict.alarm,
        "kind": verdict.kind,
        "score": verdict.score,
        "document": verdict.model_dump_json(),
    }
    with database.begin() as connection:
        connection.execute(database.insert_ignoring(VERDICTS), [row])
    found = find_verdict(database, key)
    return verdict if found is None else found


def touch_verdict(database: Database, key: str) -> None:
    """Note that a verdict still holds: the same images were looked at again."""
    with database.begin() as connection:
        connection.execute(sa.update(VERDICTS).where(VERDICTS.c.key == key).values(at=time.time()))


def last_look(database: Database, name: str) -> float | None:
    """Return when drift was looked at last, seconds since 1970; None where it never was."""
    with database.begin() as connection:
        found = connection.execute(sa.select(sa.func.max(VERDICTS.c.at)).where(VERDICTS.c.name == name)).scalar()
    return None if found is None else float(found)


def find_verdict(database: Database, key: str) -> DriftVerdict | None:
    """Return the verdict of a key; None where there is none."""
    with database.begin() as connection:
        document = connection.execute(sa.select(VERDICTS.c.document).where(VERDICTS.c.key == key)).scalar()
    return None if document is None else DriftVerdict.model_validate_json(document)


def last_verdicts(database: Database, name: str, count: int = 1) -> Sequence[DriftVerdict]:
    """Return the last verdicts about a registered model, oldest first."""
    last = sa.select(VERDICTS.c.document).where(VERDICTS.c.name == name).order_by(VERDICTS.c.id.desc()).limit(count)
    with database.begin() as connection:
        documents = connection.execute(last).scalars().all()
    return [DriftVerdict.model_validate_json(document) for document in reversed(documents)]
