"""A run has one writer: a living one keeps it, a dead one is replaced, and a registered run is nobody's."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from pneumonia.errors import TrackingError
from pneumonia.tracking import ownership
from pneumonia.tracking.client import mlflow_client
from pneumonia.tracking.ownership import EXPIRY_SECONDS, HEARTBEAT_TAG, OWNER_TAG, Owner
from pneumonia.tracking.run import Run
from tests.support.runs import EPOCHS, settings, status


@pytest.fixture
def held(work: Path) -> Run:
    """An unfinished run of this process."""
    return Run.open(settings(work), "key", "name", {})


@pytest.fixture
def process() -> Iterator[psutil.Process]:
    """Another living process of this machine."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        yield psutil.Process(child.pid)
        child.kill()


def tags(run: Run) -> dict[str, str]:
    return dict(mlflow_client(run.uri).get_run(run.id).data.tags)


def give(run: Run, owner: Owner, seconds_ago: float = 1.0) -> None:
    """Write another owner into the run, as that one would."""
    client = mlflow_client(run.uri)
    client.set_tag(run.id, OWNER_TAG, json.dumps(asdict(owner)))
    client.set_tag(run.id, HEARTBEAT_TAG, str(time.time() - seconds_ago))


def this_process(**changes: object) -> Owner:
    return replace(Owner.this_process({}), **changes)  # type: ignore[arg-type]


def test_a_run_names_its_owner(work: Path) -> None:
    run = Run.open(settings(work), "key", "name", {"airflow.run_id": "manual__1"})
    found = Owner(**json.loads(tags(run)[OWNER_TAG]))
    assert (found.pid, found.orchestrator) == (os.getpid(), "manual__1")
    assert found.started == pytest.approx(psutil.Process().create_time(), abs=1)
    assert abs(float(tags(run)[HEARTBEAT_TAG]) - time.time()) < 30


def test_a_run_that_is_alive_elsewhere_is_refused(work: Path, held: Run) -> None:
    give(held, this_process(host="far", pid=7, orchestrator="manual__2"), seconds_ago=EXPIRY_SECONDS / 2)
    told = r"is being written by process 7 on far, run manual__2 .* last sign of life 2\d s ago; wait for it, or end it"
    for again in (lambda: Run.open(settings(work), "key", "name", {}), lambda: Run.attach(held.uri, held.id)):
        with pytest.raises(TrackingError, match=told):
            again()
    assert Owner(**json.loads(tags(held)[OWNER_TAG])).host == "far"


def test_a_run_whose_owner_has_expired_is_taken_over(work: Path, held: Run, caplog: pytest.LogCaptureFixture) -> None:
    give(held, this_process(host="far", pid=7), seconds_ago=EXPIRY_SECONDS + 5)
    run = Run.open(settings(work), "key", "name", {})
    assert run.id == held.id
    assert "taken over from process 7 on far" in caplog.text
    assert Owner(**json.loads(tags(run)[OWNER_TAG])).pid == os.getpid()


@pytest.mark.integration  # it starts a process
def test_a_living_process_of_this_machine_is_refused_and_a_dead_one_replaced_at_once(
    work: Path, held: Run, process: psutil.Process
) -> None:
    owner = this_process(pid=process.pid, started=process.create_time())
    give(held, owner)
    with pytest.raises(TrackingError, match=f"process {process.pid} on"):
        Run.open(settings(work), "key", "name", {})
    give(held, replace(owner, started=owner.started - 3600))  # another process had this number
    assert Run.open(settings(work), "key", "name", {}).id == held.id
    give(held, owner)
    process.kill()
    process.wait(30)
    assert Run.open(settings(work), "key", "name", {}).id == held.id


def test_a_finished_run_is_free_at_once(work: Path, held: Run) -> None:
    held.finish("FAILED")
    assert tags(held)[HEARTBEAT_TAG] == "0"
    owner = Owner(**json.loads(tags(held)[OWNER_TAG]))
    mlflow_client(held.uri).set_tag(held.id, OWNER_TAG, json.dumps(asdict(replace(owner, host="far"))))
    assert Run.open(settings(work), "key", "name", {}).id == held.id


def test_the_owner_says_that_it_is_alive_and_sees_that_it_has_lost_the_run(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownership, "HEARTBEAT_SECONDS", 0.05)
    run = Run.open(settings(work), "key", "name", {})
    first = tags(run)[HEARTBEAT_TAG]
    deadline = time.monotonic() + 60
    while tags(run)[HEARTBEAT_TAG] == first:
        assert time.monotonic() < deadline
    other = this_process(host="far")
    give(run, other)
    while not run._ownership._taken.is_set():
        assert time.monotonic() < deadline
    with pytest.raises(TrackingError, match=r"was taken over by another process.*run the same command again"):
        run.log_epochs(EPOCHS)
    with pytest.raises(TrackingError, match="was taken over"):
        run.finish()
    assert status(run) == "RUNNING", "it is the other's now"
    assert json.loads(tags(run)[OWNER_TAG]) == asdict(other)


def test_a_run_that_a_registered_version_refers_to_is_not_begun_again(work: Path, held: Run) -> None:
    held.finish("FAILED")
    client = mlflow_client(held.uri)
    client.create_registered_model("model")
    assert not held.is_registered()
    client.create_model_version("model", source=f"runs:/{held.id}/weights", run_id=held.id)
    assert held.is_registered()
    run = Run.open(settings(work), "key", "name", {})
    assert run.id != held.id
    assert status(held) == "FAILED"


def beating(run_id: str) -> bool:
    return any(thread.name == f"heartbeat-{run_id[:8]}" for thread in threading.enumerate())


def wait_until_silent(run_id: str) -> None:
    deadline = time.monotonic() + 30
    while beating(run_id):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_nobody_says_that_an_owner_is_alive_once_it_is_gone(work: Path) -> None:
    run = Run.open(settings(work), "key", "name", {})
    identity = run.id
    assert beating(identity)
    del run
    gc.collect()
    wait_until_silent(identity)


def test_a_run_that_cannot_be_opened_is_released(work: Path, held: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    held.finish("FAILED")

    def broken(*_: object) -> None:
        raise TrackingError("the server is away")

    monkeypatch.setattr(Run, "_reopen", broken)
    with pytest.raises(TrackingError, match="is away"):
        Run.open(settings(work), "key", "name", {})
    assert tags(held)[HEARTBEAT_TAG] == "0"
    wait_until_silent(held.id)


def test_a_run_whose_last_samples_are_lost_is_released(work: Path, held: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def finish(self) -> None:
            raise OSError("no samples")

    held._monitor = Broken()  # type: ignore[assignment]
    with pytest.raises(OSError, match="no samples"):
        held.finish()
    assert tags(held)[HEARTBEAT_TAG] == "0"


def test_a_release_in_the_middle_of_a_sign_of_life_is_not_undone(work: Path, held: Run) -> None:
    ownership = held._ownership
    read = ownership._is_mine

    def slowly() -> bool:
        ownership._stop.set()
        return read()

    before = tags(held)[HEARTBEAT_TAG]
    ownership._is_mine = slowly  # type: ignore[method-assign]
    time.sleep(0.2)  # the tag has tenths of a second
    ownership._renew()
    assert tags(held)[HEARTBEAT_TAG] == before
