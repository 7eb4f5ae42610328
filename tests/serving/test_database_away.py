"""The monitoring database is away under load: every answer goes out, and every event is stored once it is back."""

from __future__ import annotations

import signal
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from pneumonia.monitoring.database import Database
from pneumonia.monitoring.events import count_events
from pneumonia.tracking.database import database_uri
from tests.support.serving import ServerProcess, film, mirror

pytestmark = pytest.mark.integration


def ask(server: ServerProcess, until: float, answered: list[str]) -> None:
    while time.monotonic() < until:
        status, document = server.post("/v1/predict", film())
        assert status == 200, document
        answered.append(document["results"][0]["event"])


@pytest.mark.parametrize("seconds", [3.0, pytest.param(300.0, marks=pytest.mark.nightly)])
@pytest.mark.timeout(600)
def test_no_event_is_lost_or_doubled(exports: Path, tmp_path: Path, seconds: float) -> None:
    work = tmp_path / "work"
    mirror(work, exports, 1)
    path = work / "monitoring" / "events.db"
    count_events(Database(database_uri(path)))  # its tables are there before it goes away
    away = path.with_name("away")
    path.rename(away)
    path.mkdir()  # nothing can be opened there
    server = ServerProcess(work, "monitoring.spool=1000000")
    answered: list[list[str]] = [[], []]
    threads = [threading.Thread(target=ask, args=(server, time.monotonic() + seconds, found)) for found in answered]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.metric("pneumonia_event_database_up") == 0
    waiting = server.metric("pneumonia_events_spooled")
    assert waiting > 0
    server.stop(signal.SIGKILL)  # and the process dies before it is back
    path.rmdir()
    away.rename(path)
    again = ServerProcess(work)
    end = time.monotonic() + 60
    while again.metric("pneumonia_events_spooled") or not again.metric("pneumonia_events_recorded_total"):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert again.metric("pneumonia_events_lost_total") == 0
    assert again.stop() == 0
    events = [event for found in answered for event in found]
    assert len(events) >= 20
    with sqlite3.connect(path) as connection:
        stored = [row[0] for row in connection.execute("SELECT event_id FROM events")]
    connection.close()
    assert sorted(stored) == sorted(events)
