"""Events on their way: onto the spool, into a real database, through its absence, a full disk and a killed process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pneumonia.config.service import MonitoringConfig
from pneumonia.errors import MonitoringError
from pneumonia.monitoring import recorder as recorders
from pneumonia.monitoring.database import Database
from pneumonia.monitoring.events import Event, add_events, count_events, delete_old_events, find_event, read_window
from pneumonia.monitoring.recorder import Recorder
from pneumonia.monitoring.spool import Spool
from pneumonia.tracking.database import database_uri


class Counted:
    """Counters that tests read."""

    def __init__(self) -> None:
        self.stored, self.reasons, self.up = 0, [], []  # type: ignore[var-annotated]

    def recorded(self, events: int) -> None:
        self.stored += events

    def lost(self, reason: str) -> None:
        self.reasons.append(reason)

    def database_up(self, up: bool) -> None:
        self.up.append(up)


def event(at: float = 1.0, model: str = "a" * 64, **members: Any) -> Event:
    named: dict[str, Any] = {
        "event_id": uuid.uuid4().hex, "at": at, "request_id": "r", "position": 0, "name": "pneumonia", "version": "1",
        "model_digest": model, "precision": "int8", "threshold": 0.5, "code": "", "familiar": True, "percentile": 3.0,
        "probability": 0.25, "margin": -1.1, "decision": "NORMAL", "checks": {"size": [3, 4], "view": "ÉÆ"},
        "statistics": np.arange(30, dtype=np.float32).tobytes(), "embedding": np.ones(8, np.float16).tobytes(),
    }  # fmt: skip
    return Event(**(named | members))


def database_in(folder: Path) -> Database:
    return Database(database_uri(folder / "events.db"))


def recorder_in(folder: Path, counters: Counted, **settings: Any) -> Recorder:
    return Recorder(MonitoringConfig(**settings), folder, database_in(folder), counters)


def test_an_event_is_the_same_after_its_line_and_after_the_database(tmp_path: Path) -> None:
    given = event(patient="id-1", study="id-2")
    assert Event.of_line(given.line()) == given
    database = database_in(tmp_path)
    assert add_events(database, [given]) == 1
    found = find_event(database, given.event_id)
    assert found is not None
    assert {key: value for key, value in found.items() if key != "id"} == given.row()


def test_storing_twice_doubles_nothing(tmp_path: Path) -> None:
    database, given = database_in(tmp_path), [event() for _ in range(1200)]
    add_events(database, given)
    add_events(database, given[:700])
    assert count_events(database) == 1200


def test_a_window_holds_the_last_events_of_one_model_in_order(tmp_path: Path) -> None:
    database = database_in(tmp_path)
    given = [event(at=float(at), model=("a" if at % 2 else "b") * 64) for at in range(20)]
    add_events(database, given)
    assert [row["at"] for row in read_window(database, "a" * 64, 4)] == [13, 15, 17, 19]
    assert [row["at"] for row in read_window(database, "a" * 64, 100, since=16)] == [17, 19]


def test_old_events_go(tmp_path: Path) -> None:
    database = database_in(tmp_path)
    add_events(database, [event(at=day * 86_400.0) for day in range(10)])
    assert delete_old_events(database, 0, now=10 * 86_400) == 0
    assert delete_old_events(database, 3, now=10 * 86_400) == 7
    assert count_events(database) == 3


def test_a_database_that_is_away_costs_no_event(tmp_path: Path) -> None:
    counters = Counted()
    recorder = recorder_in(tmp_path, counters)
    blocked = tmp_path / "events.db"
    blocked.mkdir()  # no database can be there
    for _ in range(30):
        recorder.record(event())
    assert not recorder.flush()
    assert counters.up == [False]
    assert recorder.waiting == 30
    blocked.rmdir()
    recorder.record(event())
    assert recorder.flush()
    assert counters.up[-1] is True
    assert (counters.stored, counters.reasons, recorder.waiting) == (31, [], 0)
    assert count_events(recorder.database) == 31


def test_a_full_spool_counts_its_losses(tmp_path: Path) -> None:
    counters = Counted()
    recorder = recorder_in(tmp_path, counters, spool=5)
    for _ in range(8):
        recorder.record(event())
    assert counters.reasons == ["spool_full"] * 3
    assert recorder.flush()
    assert counters.stored == 5


def test_a_full_disk_costs_no_event_while_the_memory_holds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters = Counted()
    recorder = recorder_in(tmp_path, counters)

    def full(_: Event) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recorder._spool, "append", full)
    monkeypatch.setattr(recorders, "IN_MEMORY", 4)
    for _ in range(6):
        recorder.record(event())
    assert (recorder.waiting, counters.reasons) == (4, ["disk", "disk"])
    assert recorder.flush()
    assert (recorder.waiting, count_events(recorder.database)) == (0, 4)


def _record_and_wait(folder: Path, ready: Any) -> None:
    spool = Spool(folder, 100)
    for at in range(7):
        spool.append(event(at=time.time() + at))
    ready.set()
    signal.pause()


@pytest.mark.integration
def test_a_killed_process_leaves_its_events_to_the_next(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=_record_and_wait, args=(tmp_path / recorders.SPOOL, ready))
    process.start()
    assert ready.wait(30)
    recorder = recorder_in(tmp_path, Counted())
    assert recorder._spool.adopt() == 0  # it lives and holds its folder
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    (left,) = (tmp_path / recorders.SPOOL).glob("*/*.jsonl")
    with left.open("a") as file:
        file.write('{"event_id": "cut o')  # as a crash of the machine leaves it
    recorder.start()
    recorder.stop()
    assert count_events(recorder.database) == 7
    assert not any((tmp_path / recorders.SPOOL).iterdir())


def test_a_database_of_a_later_release_is_refused(tmp_path: Path) -> None:
    database = database_in(tmp_path)
    count_events(database)
    with sqlite3.connect(tmp_path / "events.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(MonitoringError, match="a later release"):
        count_events(database_in(tmp_path))


@pytest.mark.parametrize("address", ["mysql://h/d", "sqlite://", "nonsense"])
def test_another_database_is_refused(address: str) -> None:
    with pytest.raises(MonitoringError, match=r"monitoring\.database"):
        Database(address)


def test_a_damaged_database_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "events.db").write_text("no database" * 1000)
    with pytest.raises(MonitoringError, match=r"events\.db cannot be used: .*move it away") as told:
        count_events(database_in(tmp_path))
    assert told.value.permanent
