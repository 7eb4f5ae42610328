"""One training by several processes: the same bits, whoever is killed, under both launchers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.sharding_member import KEY, images, settings
from pneumonia.errors import TrainingInterrupted, WorkerLost
from pneumonia.modelling import local_workers, training_loop
from pneumonia.modelling.training_loop import fit
from pneumonia.progress import Progress
from pneumonia.timing import reports_time

ROOT = Path(__file__).resolve().parents[2]
SHARDS = ("train.shards=4", "train.workers=1")
EPOCH_STEPS = 4


@pytest.fixture(scope="module")
def digest(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of the training by one process."""
    return fit(images(32), settings(*SHARDS), tmp_path_factory.mktemp("one"), KEY).weights_digest


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The workers that are started on this machine."""
    found: list[subprocess.Popen[bytes]] = []
    start = local_workers._start

    def watched(*given: Any) -> subprocess.Popen[bytes]:
        found.append(start(*given))
        return found[-1]

    monkeypatch.setattr(local_workers, "_start", watched)
    return found


def torchrun(folder: Path, processes: int, restarts: int, *arguments: str) -> int:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command += ["--max-restarts", str(restarts), str(ROOT / "benchmarks/sharding_member.py"), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run([*command, SHARDS[0], *arguments], env=environment, capture_output=True, timeout=500)
    return done.returncode


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


@pytest.mark.integration
def test_a_killed_worker_is_replaced_and_a_resume_may_have_another_number(
    tmp_path: Path, digest: str, started: list[subprocess.Popen[bytes]]
) -> None:
    steps: list[int] = []

    def on_step(done: int, total: int) -> None:
        steps.append(done)
        if len(steps) == EPOCH_STEPS + 2:
            os.kill(started[0].pid, signal.SIGKILL)
        if done == 2 * EPOCH_STEPS + 1:
            raise ConnectionError("the tracker is away")

    with pytest.raises(ConnectionError):
        fit(images(32), settings(SHARDS[0], "train.workers=2"), tmp_path, KEY, on_step=on_step)
    assert steps == [1, 2, 3, 4, 5, 6, 5, 6, 7, 8, 9], "from the end of the first epoch"
    assert [process.poll() for process in started] == [-signal.SIGKILL] * 2, "nobody is left"
    fitted = fit(images(32), settings(*SHARDS), tmp_path, KEY, on_step=lambda done, total: steps.append(done))
    assert steps[11:] == [9, 10, 11, 12]
    assert fitted.weights_digest == digest
    assert len(fitted.computed_with) == 1, "the number of workers is no part of what a result depends on"


@pytest.mark.integration
def test_torchrun_starts_a_killed_training_again(tmp_path: Path, digest: str) -> None:
    """The process that keeps the training is the one that is killed; its lock and its port are gone with it."""
    assert torchrun(tmp_path, 2, 1, "--kill", "0", "11") == 0
    lines = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10, 11, 12]
    assert [line["restart"] for line in lines] == [0] * 5 + [1] * 8
    assert result(tmp_path)["digest"] == digest


@pytest.mark.nightly
@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_any_number_of_processes_gives_the_same_bits(tmp_path: Path, digest: str, processes: int) -> None:
    plain, launched = tmp_path / "plain", tmp_path / "torchrun"
    launched.mkdir()
    workers = settings(SHARDS[0], f"train.workers={processes}")
    assert fit(images(32), workers, plain, KEY).weights_digest == digest
    if processes > 1:
        assert torchrun(launched, processes, 0) == 0
        assert result(launched)["digest"] == digest


@pytest.mark.nightly
def test_the_other_process_of_torchrun_may_be_killed_and_be_gone_for_good(tmp_path: Path, digest: str) -> None:
    again, gone = tmp_path / "again", tmp_path / "gone"
    again.mkdir()
    gone.mkdir()
    assert torchrun(again, 2, 1, "--kill", "1", "11") == 0
    assert result(again)["digest"] == digest
    assert torchrun(gone, 2, 0, "--kill", "1", "11") != 0, "nothing waits for it"
    assert fit(images(32), settings(SHARDS[0], "train.workers=3"), gone, KEY).weights_digest == digest


@pytest.mark.nightly
def test_sigterm_ends_all_workers_after_the_same_step(
    tmp_path: Path, digest: str, started: list[subprocess.Popen[bytes]]
) -> None:
    steps: list[int] = []

    def on_step(done: int, total: int) -> None:
        steps.append(done)
        if done == EPOCH_STEPS + 1:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(TrainingInterrupted, match="stopped in epoch 2"):
        fit(images(32), settings(SHARDS[0], "train.workers=2"), tmp_path, KEY, on_step=on_step)
    assert steps == [1, 2, 3, 4, 5, 6], "the others learn of it with the next step"
    assert len(started) == 1, "none was started again"
    fitted = fit(images(32), settings(*SHARDS), tmp_path, KEY, on_step=lambda done, total: steps.append(done))
    assert steps[6:] == [7, 8, 9, 10, 11, 12]
    assert fitted.weights_digest == digest


@pytest.mark.integration
def test_a_worker_that_cannot_start_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_workers, "HELPER", "antigravity_of_no_package")
    monkeypatch.setattr(training_loop, "RESTARTS", 0)
    with pytest.raises(WorkerLost, match="worker 1 has ended at its start, with 1"):
        fit(images(32), settings(SHARDS[0], "train.workers=2"), tmp_path, KEY)


@pytest.mark.integration
def test_a_worker_that_is_killed_before_it_meets_the_others_is_replaced(
    tmp_path: Path, digest: str, monkeypatch: pytest.MonkeyPatch, started: list[subprocess.Popen[bytes]]
) -> None:
    monkeypatch.setattr(local_workers, "HELPER", "tests.support.lost_worker")
    monkeypatch.setenv("LOST_WORKER", "killed")
    (tmp_path / "workers-of-a-killed-process").mkdir()
    lines: list[str] = []

    @reports_time
    def step(progress: Progress) -> str:
        return fit(images(32), settings(SHARDS[0], "train.workers=2"), tmp_path, KEY).weights_digest

    assert step(lambda done, total, message="": lines.append(message)) == digest
    assert len(started) == 2
    assert "starting workers" in lines[0]
    assert not list(tmp_path.glob("workers-*"))


@pytest.mark.integration
def test_sigterm_ends_the_wait_for_a_worker_that_does_not_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[subprocess.Popen[bytes]]
) -> None:
    monkeypatch.setattr(local_workers, "HELPER", "tests.support.lost_worker")
    monkeypatch.setenv("LOST_WORKER", "silent")

    def stop() -> None:
        while not list(tmp_path.glob("workers-*/store")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(TrainingInterrupted, match="stopped; run it again"):
        fit(images(32), settings(SHARDS[0], "train.workers=2"), tmp_path, KEY)
    assert [process.poll() for process in started] == [-signal.SIGKILL]


@pytest.mark.integration
def test_a_worker_ends_with_the_process_that_has_started_it(tmp_path: Path) -> None:
    local_workers._hand_over(tmp_path, images(32), settings(SHARDS[0]), KEY)
    command = f"'{sys.executable}' -m {local_workers.HELPER} '{tmp_path}' 1 2 $$ & wait"
    owner = subprocess.Popen(["sh", "-c", command], cwd=ROOT, stdout=subprocess.PIPE)
    while not (tmp_path / "1").exists():
        assert owner.poll() is None
        time.sleep(0.05)
    owner.kill()
    owner.communicate(timeout=60)  # its output ends with its last process, which waits for worker 0
