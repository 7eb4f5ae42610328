"""A monitoring folder with events, kept images and readers' words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pneumonia.config.schema import Config
from pneumonia.data.patient_key import Pseudonyms
from pneumonia.monitoring.database import Database, monitoring_folder
from pneumonia.monitoring.events import Event, add_events
from pneumonia.monitoring.feedback import give_feedback, reader_pseudonym
from pneumonia.monitoring.kept_images import keep
from tests.support.events import event


def answered(config: Config, content: bytes | None, **members: Any) -> Event:
    """Store an event of an image, which is kept where it has a content."""
    folder = monitoring_folder(config)
    made = event(**({"image": keep(folder, content) if content is not None else None} | members))
    database = Database.of(config)
    add_events(database, [made])
    database.close()
    return made


def read(config: Config, about: Event, *labels: Any, adjudicator: Any = None) -> None:
    """Give an event's labels, one a reader."""
    database, who = Database.of(config), Pseudonyms(Path(config.work).resolve())
    for at, label in enumerate(labels):
        verdict: Any = "unsure" if label is None else "agree" if label == about.decision else "disagree"
        give_feedback(database, about.event_id, reader_pseudonym(who, f"reader {at}"), verdict, label)
    if adjudicator is not None:
        verdict = "agree" if adjudicator == about.decision else "disagree"
        give_feedback(database, about.event_id, "adjudicator", verdict, adjudicator, role="adjudicator")
    database.close()
