"""Many moves at once: one order, every move in the ledger once, each with its own reason."""

from __future__ import annotations

import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pneumonia.errors import PneumoniaError
from pneumonia.registry import models, moves
from pneumonia.registry.moves import Outcome
from tests.support.registered import assert_one_order, champion_of, promote, promoted, registered

# Also without a process of their own: MLflow's import, if it is the first, starts one.
pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("many", [8, pytest.param(20, marks=pytest.mark.nightly)])
def test_many_promotions_at_once(any_uri: str, many: int) -> None:
    """The first ones, so that the ledger itself is made by many at once too."""
    name = f"many-{uuid.uuid4().hex}"
    versions = [registered(any_uri, name).version for _ in range(many)]

    def one(version: str) -> Outcome:
        return promote(any_uri, version, name, who=f"person {version}", why=f"reason {version}")

    with ThreadPoolExecutor(many) as pool:
        done = list(pool.map(one, versions))
    for version, outcome in zip(versions, done, strict=True):
        assert outcome.made
        assert (outcome.move.to_version, outcome.move.who, outcome.move.why) == (
            version,
            f"person {version}",
            f"reason {version}",
        )
    past = models.history(any_uri, name)
    assert sorted(past, key=str) == sorted((outcome.move for outcome in done), key=str)
    assert_one_order(any_uri, name)


def test_of_promotions_that_were_judged_against_one_champion_one_is_made(any_uri: str) -> None:
    name = f"judged-{uuid.uuid4().hex}"
    promoted(any_uri, 1, name)
    versions = [registered(any_uri, name).version for _ in range(6)]

    def one(version: str) -> bool:
        try:
            return moves.promote(any_uri, name, version, "ada", "why", against="1").made
        except moves.ChampionMoved:
            return False

    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(one, versions))
    assert sum(made) == 1
    assert champion_of(any_uri, name) == versions[made.index(True)]
    assert_one_order(any_uri, name)


def test_of_promotions_of_one_version_one_is_made_and_the_others_say_whose(uri: str) -> None:
    name = f"same-{uuid.uuid4().hex}"
    promoted(uri, 1, name)
    registered(uri, name)
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda who: moves.promote(uri, name, "2", who, who, against="1"), "abc"))
    (mine,) = (outcome for outcome in done if outcome.made)
    assert {outcome.move for outcome in done} == {mine.move}
    assert len(models.history(uri, name)) == 2


def test_of_rollbacks_at_once_one_is_made(any_uri: str) -> None:
    name = f"rollbacks-{uuid.uuid4().hex}"
    promoted(any_uri, 4, name)

    def one(who: str) -> str:
        try:
            return str(moves.rollback(any_uri, name, who, "bad", leaving="4").move.to_version)
        except PneumoniaError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(one, "abcd"))
    assert done.count("3") == 1
    assert sum("version 3 is champion, not version 4" in text for text in done) == 3
    assert champion_of(any_uri, name) == "3"
    assert_one_order(any_uri, name)


@pytest.mark.long
@pytest.mark.parametrize("killed_at", [1, 4])
def test_processes_of_which_one_is_killed(uri: str, killed_at: int) -> None:
    name = f"processes-{uuid.uuid4().hex}"
    versions = [registered(uri, name).version for _ in range(12)]
    program = str(ROOT / "tests" / "support" / "promoters.py")
    parts = [versions[start::4] for start in range(4)]
    processes = [
        subprocess.Popen(
            [sys.executable, program, uri, name, str(killed_at if number == 0 else -1), *part],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
        )
        for number, part in enumerate(parts)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=300)
    codes = [process.returncode for process in processes]
    assert codes == [-9, 0, 0, 0]
    promote(uri, promoted(uri, 1, name)[0].version, name)  # completes what the killed one began
    entered = [move.to_version for move in models.history(uri, name)]
    assert len(entered) == len(set(entered))
    wanted = set(versions) - set(parts[0])
    assert set(entered) >= wanted
    assert_one_order(uri, name)
