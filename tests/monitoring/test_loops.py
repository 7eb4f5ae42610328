"""One loop at a time: whoever comes second, twice, too soon or after a crash."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pneumonia.errors import MonitoringError
from pneumonia.monitoring import loops
from pneumonia.monitoring.database import Database
from pneumonia.monitoring.loops import Wish
from pneumonia.tracking.database import database_uri

DAY = 86_400.0


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(database_uri(tmp_path / "events.db"))


def wish(verdict: str = "a", holder: str = "run 1") -> Wish:
    return Wish("pneumonia", "3", "acquisition", "retrain", verdict, holder)


def test_of_many_at_once_one_begins(database: Database) -> None:
    loops.count_loops(database, "pneumonia")
    with ThreadPoolExecutor(8) as pool:
        wishes = [wish(f"{at % 3}", f"run {at}") for at in range(16)]
        found = list(pool.map(lambda each: loops.begin(database, each, 60, DAY), wishes))
    assert [claim.status for claim in found].count("begun") == 1
    assert {claim.status for claim in found} == {"begun", "running"}
    assert len(loops.last_loops(database, "pneumonia", 10)) == 1


def test_a_loop_ends_once_and_then_it_cools_down(database: Database) -> None:
    begun = loops.begin(database, wish(), 60, DAY).loop
    assert begun is not None
    assert begun.trace_id == loops.trace_id("a")
    assert loops.begin(database, wish("b", "run 2"), 60, DAY).status == "running"
    ended = loops.finish(database, begun.trace_id, "refused", "no better")
    assert (ended.outcome, ended.words) == ("refused", "no better")
    assert loops.finish(database, begun.trace_id, "promoted", "again").outcome == "refused"
    assert loops.begin(database, wish(), 60, DAY).status == "done"  # the same alarm, delivered twice
    assert loops.begin(database, wish("b"), 60, DAY).status == "cooling down"
    assert ended.finished is not None
    assert loops.begin(database, wish("b"), 60, DAY, now=ended.finished + DAY).status == "begun"
    assert loops.count_loops(database, "pneumonia") == {("retrain", "refused"): 1}


def test_a_loop_whose_holder_is_gone_is_taken_over_once(database: Database) -> None:
    assert loops.take_over(database, "pneumonia", "run 2", 60) is None
    begun = loops.begin(database, wish(), 60, DAY, now=1000).loop
    assert begun is not None
    alive = loops.take_over(database, "pneumonia", "run 2", 60, now=1059)
    assert alive is not None
    assert alive.status == "running"
    with ThreadPoolExecutor(8) as pool:
        found = list(
            pool.map(lambda at: loops.take_over(database, "pneumonia", f"run {at}", 60, now=1061), range(2, 10))
        )
    assert [claim.status for claim in found if claim].count("continued") == 1
    (loop,) = loops.last_loops(database, "pneumonia")
    assert (loop.trace_id, loop.taken_over, loop.at) == (begun.trace_id, 1, 1000)
    assert not loops.renew(database, loop.trace_id, "run 1", 60)
    assert loops.renew(database, loop.trace_id, loop.holder, 60)


def test_the_same_run_goes_on_after_its_own_crash(database: Database) -> None:
    loops.begin(database, wish(), 3600, DAY)
    again = loops.take_over(database, "pneumonia", "run 1", 3600)
    assert again is not None
    assert again.status == "continued"


def test_models_do_not_wait_for_each_other(database: Database) -> None:
    assert loops.begin(database, wish(), 60, DAY).status == "begun"
    other = wish("b")._replace(name="pneumonia-fast")
    assert loops.begin(database, other, 60, DAY).status == "begun"


def test_a_loop_that_failed_before_its_gate_does_not_cool_down(database: Database) -> None:
    begun = loops.begin(database, wish(), 60, DAY).loop
    assert begun is not None
    loops.finish(database, begun.trace_id, "failed", "no disk")
    assert loops.begin(database, wish("b"), 60, DAY).status == "begun"


def test_a_lease_is_renewed_also_after_the_database_was_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = loops.begin(database, wish(), 0.3, DAY).loop
    assert begun is not None
    asked = []

    def renew(*given: Any) -> bool:
        asked.append(given)
        if len(asked) == 1:
            raise MonitoringError("away")
        return renewed(*given)

    renewed = loops.renew
    monkeypatch.setattr(loops, "renew", renew)
    with loops.held(database, begun.trace_id, begun.holder, 0.3):
        end = time.monotonic() + 10
        while len(asked) < 4:
            assert time.monotonic() < end
            time.sleep(0.02)
        there = loops.take_over(database, "pneumonia", "run 2", 60)
        assert there is not None
        assert there.status == "running"
