"""Readers' words: what is taken, what settles, and what is counted, in a real database."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pneumonia.errors import FeedbackError, MonitoringError, UnknownEventError, worth_retrying
from pneumonia.monitoring.database import Database
from pneumonia.monitoring.events import Event, add_events, delete_old_events
from pneumonia.monitoring.feedback import (
    calibration_pairs,
    count_states,
    count_verdicts,
    give_feedback,
    labels_for,
    reviewed_events,
    settled,
    words_about,
)
from tests.support.events import database_in, event


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return database_in(tmp_path)


def stored(database: Database, **members: Any) -> Event:
    given = event(**members)
    add_events(database, [given])
    return given


@pytest.mark.parametrize(
    ("decision", "verdict", "label", "meant"),
    [
        ("NORMAL", "agree", None, "NORMAL"),
        ("NORMAL", "disagree", None, "PNEUMONIA"),
        ("PNEUMONIA", "agree", "PNEUMONIA", "PNEUMONIA"),
        ("PNEUMONIA", "disagree", None, "NORMAL"),
        ("PNEUMONIA", "disagree", "NORMAL", "NORMAL"),
        ("PNEUMONIA", "unsure", None, None),
        (None, "unsure", None, None),
        (None, "disagree", "PNEUMONIA", "PNEUMONIA"),
    ],
)
def test_a_verdict_means_a_label(database: Database, decision: Any, verdict: Any, label: Any, meant: Any) -> None:
    given = stored(database, decision=decision)
    said = give_feedback(database, given.event_id, " one ", verdict, label, " look at the left base ", at=5.0)
    assert (said.label, said.reader, said.note, said.at) == (meant, "one", "look at the left base", 5.0)
    assert words_about(database, given.event_id) == (said,)


@pytest.mark.parametrize(
    ("decision", "verdict", "label", "words"),
    [
        ("NORMAL", "agree", "PNEUMONIA", "decision is NORMAL"),
        ("NORMAL", "disagree", "NORMAL", "give PNEUMONIA"),
        ("NORMAL", "unsure", "NORMAL", "unsure"),
        ("NORMAL", "maybe", None, "none of agree"),
        ("NORMAL", "agree", "normal", "none of NORMAL"),
        (None, "agree", None, "refused"),
        (None, "disagree", None, "refused"),
    ],
)
def test_a_contradiction_is_refused_and_not_stored(
    database: Database, decision: Any, verdict: Any, label: Any, words: str
) -> None:
    given = stored(database, decision=decision)
    with pytest.raises(FeedbackError, match=words) as refusal:
        give_feedback(database, given.event_id, "one", verdict, label)
    assert not worth_retrying(refusal.value)
    assert words_about(database, given.event_id) == ()


@pytest.mark.parametrize(
    ("reader", "note", "role"),
    [("", "", "reader"), ("r" * 65, "", "reader"), ("r", "n" * 1001, "reader"), ("r", "", "x")],
)
def test_names_and_notes_have_limits(database: Database, reader: str, note: str, role: Any) -> None:
    with pytest.raises(FeedbackError):
        give_feedback(database, stored(database).event_id, reader, "agree", note=note, role=role)


def test_an_unknown_event_is_an_error_of_its_own(database: Database) -> None:
    with pytest.raises(UnknownEventError) as error:
        give_feedback(database, "0" * 32, "one", "agree")
    assert isinstance(error.value, MonitoringError)
    assert error.value.permanent


def test_the_last_word_of_a_reader_counts(database: Database) -> None:
    given = stored(database)
    give_feedback(database, given.event_id, "one", "agree", note="clear")
    last = give_feedback(database, given.event_id, "one", "disagree")
    assert words_about(database, given.event_id) == (last,)
    assert count_verdicts(database) == {"agree": 0, "disagree": 1, "unsure": 0}


SETTLEMENTS: Sequence[tuple[str, str | None, str, str | None]] = [
    ("", None, "", None),
    ("N", None, "open", None),
    ("N?", None, "open", None),
    ("??", None, "open", None),
    ("NN", "NORMAL", "settled", "readers"),
    ("PP?", "PNEUMONIA", "settled", "readers"),
    ("NP", None, "disputed", None),
    ("NNP", None, "disputed", None),
    ("NPA", "PNEUMONIA", "settled", "adjudicator"),
    ("NNA", "PNEUMONIA", "settled", "adjudicator"),
    ("A", "PNEUMONIA", "settled", "adjudicator"),
    ("NPU", None, "disputed", None),
    ("NPAU", "PNEUMONIA", "settled", "adjudicator"),
    ("AB", "NORMAL", "settled", "adjudicator"),
]


@pytest.mark.parametrize(("words", "label", "state", "how"), SETTLEMENTS)
def test_labels_settle(database: Database, words: str, label: str | None, state: str, how: str | None) -> None:
    """N and P: readers' labels; ?: an unsure reader; A, B and U: adjudicators who say PNEUMONIA, NORMAL, unsure."""
    given = stored(database)
    stored(database)  # another, which nobody speaks about
    meaning: dict[str, Any] = {
        "N": ("agree", "reader"), "P": ("disagree", "reader"), "?": ("unsure", "reader"),
        "A": ("disagree", "adjudicator"), "B": ("agree", "adjudicator"), "U": ("unsure", "adjudicator"),
    }  # fmt: skip
    for at, word in enumerate(words):
        verdict, role = meaning[word]
        give_feedback(database, given.event_id, f"reader {at}", verdict, role=role, at=float(at))
    found = reviewed_events(database)
    assert [(row.label, row.state, row.how) for row in found] == ([(label, state, how)] if words else [])
    assert [row.event_id for row in settled(database)] == ([given.event_id] if label else [])
    assert labels_for(database, [given.event_id, "0" * 32]) == (
        {given.event_id: int(label == "PNEUMONIA")} if label else {}
    )
    counted = count_states(database)
    assert {key: value for key, value in counted.items() if value} == ({state: 1} if words else {})
    assert count_states(database, "pneumonia") == counted
    assert set(count_states(database, "another").values()) == {0}


def test_nobody_settles_a_dispute_of_their_own(database: Database) -> None:
    given = stored(database)
    give_feedback(database, given.event_id, "one", "agree")
    with pytest.raises(FeedbackError, match="took no part"):
        give_feedback(database, given.event_id, "one", "disagree", role="adjudicator")
    give_feedback(database, given.event_id, "two", "agree", role="adjudicator")
    with pytest.raises(FeedbackError, match="took no part"):
        give_feedback(database, given.event_id, "two", "disagree")


def test_readers_who_speak_at_once_lose_no_word(database: Database) -> None:
    given = stored(database)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda at: give_feedback(database, given.event_id, f"r{at % 10}", "agree"), range(40)))
    assert len(words_about(database, given.event_id)) == 10


def test_calibration_takes_settled_answers_of_one_model(database: Database) -> None:
    rows = [
        stored(database, at=1.0, margin=2.0, decision="PNEUMONIA", patient="id-1", image="images/aa/a.png"),
        stored(database, at=2.0, margin=-2.0, image="images/bb/b.png"),
        stored(database, at=3.0, margin=-3.0),
        stored(database, at=4.0, margin=-4.0, model="b" * 64),
        stored(database, at=5.0, margin=None, probability=None, decision=None, code="blank"),
        stored(database, at=6.0, margin=-6.0),  # one reader alone
    ]
    for row in rows:
        label: Any = None if row.decision else "NORMAL"
        give_feedback(database, row.event_id, "one", "agree", label)
        if row.at != 6.0:
            give_feedback(database, row.event_id, "two", "agree", label)
    margins, labels, patients = calibration_pairs(database, "a" * 64)
    assert margins.tolist() == [2.0, -2.0, -3.0]
    assert margins.dtype == np.float64
    assert labels.tolist() == [1, 0, 0]
    assert labels.dtype == np.uint8
    assert patients == ["id-1", "images/bb/b.png", rows[2].event_id]
    assert calibration_pairs(database, "a" * 64, since=2.5)[0].tolist() == [-3.0]
    assert calibration_pairs(database, "c" * 64)[0].shape == (0,)


def test_old_feedback_goes_with_its_event(database: Database) -> None:
    given = stored(database, at=1.0)
    give_feedback(database, given.event_id, "one", "agree")
    delete_old_events(database, 1)
    assert words_about(database, given.event_id) == ()
    assert sum(count_verdicts(database).values()) == 0


def test_counts_of_many_events_are_fast(database: Database) -> None:
    """10,000 events with two words each: the gauges are read every 30 s, and must cost little."""
    import sqlalchemy as sa

    from pneumonia.monitoring.tables import FEEDBACK

    given = [event(at=float(at)) for at in range(10_000)]
    add_events(database, given)
    rows = [
        {"event_id": row.event_id, "reader": f"r{one}", "role": "reader", "verdict": "agree", "label": label,
         "note": "", "at": 1.0}
        for at, row in enumerate(given) for one, label in enumerate(("NORMAL", "NORMAL" if at % 10 else "PNEUMONIA"))
    ]  # fmt: skip
    with database.begin() as connection:
        connection.execute(sa.insert(FEEDBACK), rows)
    began = time.perf_counter()
    states, verdicts = count_states(database, "pneumonia"), count_verdicts(database, "pneumonia")
    assert time.perf_counter() - began < 2.0  # measured: 0.1 s
    assert states == {"settled": 9000, "open": 0, "disputed": 1000}
    assert verdicts["agree"] == 20_000
    assert len(labels_for(database, [row.event_id for row in given])) == 9000
