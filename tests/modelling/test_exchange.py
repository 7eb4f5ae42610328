"""What workers hand to one another, through memory that they share and over the network: the same numbers."""

from __future__ import annotations

import errno
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pneumonia.errors import WorkerLost
from pneumonia.modelling import exchange
from pneumonia.modelling.exchange import Exchange
from pneumonia.modelling.local_workers import meeting_place, on_loopback
from pneumonia.modelling.workers import Workers, joined

ROOT = Path(__file__).resolve().parents[2]
SIZE, ROWS, WIDTH, STEPS = 3, 2, 1000, 40


def given(rank: int, step: int) -> list[torch.Tensor]:
    """What a worker gives in a step; the last one has one row, the others two."""
    rows = 1 if rank == SIZE - 1 else ROWS
    return [torch.full((WIDTH,), float(100_000 * rank + 1000 * row + step)) for row in range(rows)]


def take_part(folder: Path, rank: int, where: str) -> None:
    """Be a worker, at a pace of its own, and print what was noticed."""
    pace = random.Random(rank)
    if where == "a machine of its own" and rank == 1:
        exchange._open = lambda offer, size: None
    with on_loopback(), joined(meeting_place(folder, SIZE), Workers(rank, SIZE, rank)) as workers:
        through = Exchange(workers, ROWS, WIDTH)
        for step in range(STEPS):
            time.sleep(pace.choice((0, 0, 0.005)))
            own = given(rank, step)
            found, raised = through.gather(own, flag=step == 7 and rank == 1)
            time.sleep(pace.choice((0, 0, 0.005)))
            assert raised == (step == 7)
            for other in range(SIZE):
                for row, value in enumerate(given(other, step)):
                    assert torch.equal(found[other, row], value), (step, other, row)
        print("shared" if through._shared else "network")


@pytest.mark.integration
@pytest.mark.parametrize(
    ("where", "expected"),
    [
        pytest.param(
            *("one machine", "shared"), marks=pytest.mark.skipif(sys.platform != "linux", reason="memory is of Linux")
        ),
        ("a machine of its own", "network"),
    ],
)
def test_each_worker_reads_what_the_others_have_written(tmp_path: Path, where: str, expected: str) -> None:
    """Nobody's numbers are of the step before or after, though the workers are fast and slow by turns."""
    started = [
        subprocess.Popen(
            [sys.executable, __file__, str(tmp_path), str(rank), where],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(SIZE)
    ]
    try:
        ended = [process.communicate(timeout=120) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert [process.returncode for process in started] == [0] * SIZE, ended
    assert [printed for printed, _ in ended] == [f"{expected}\n"] * SIZE


@pytest.mark.skipif(sys.platform != "linux", reason="other systems share no memory this way")
def test_a_file_is_worker_0s_by_the_word_in_it() -> None:
    file, offer = exchange._make(4096)
    assert file is not None
    found = exchange._open(offer, 4096)
    assert found is not None
    assert os.fstat(found).st_ino == os.fstat(file).st_ino
    word, path = offer[:16], offer[16:]
    reader, writer = os.pipe()
    for other in (bytes(16) + path, word + b"/proc/self/fd/%d" % reader, word + b"/proc/self/fd/9999"):
        assert exchange._open(other, 4096) is None, other
    for each in (file, found, reader, writer):
        os.close(each)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems share no memory this way")
@pytest.mark.parametrize(
    ("call", "why"), [("posix_fallocate", errno.ENOSPC), ("memfd_create", errno.ENOSYS), ("pwrite", errno.EPERM)]
)
def test_without_memory_the_network_is_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, call: str, why: int
) -> None:
    def refused(*given: object) -> None:
        raise OSError(why, os.strerror(why))

    monkeypatch.setattr(f"os.{call}", refused)
    before = descriptors()
    assert exchange._make(4096) == (None, b"")
    assert re.search(f"no memory to share .*{os.strerror(why)}.*over the network", caplog.text)
    assert descriptors() == before, "the file is closed"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems share no memory this way")
@pytest.mark.parametrize("lost_in", ["share", "gather"])
def test_the_file_is_closed_where_a_worker_is_lost_meanwhile(monkeypatch: pytest.MonkeyPatch, lost_in: str) -> None:
    def lost(self: Workers, given: object) -> None:
        raise WorkerLost("gone")

    monkeypatch.setattr(Workers, "share", lambda self, content: content)
    monkeypatch.setattr(Workers, lost_in, lost)
    before = descriptors()
    with pytest.raises(WorkerLost):
        exchange.shared_memory(Workers(0, 2), 1024)
    assert descriptors() == before


def test_a_worker_without_room_to_map_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(file: int, size: int) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr("pneumonia.modelling.exchange.mmap.mmap", full)
    assert exchange._map(0, 4096) is None
    assert "memory cannot be shared (Cannot allocate memory): gradients go over the network" in caplog.text


def descriptors() -> int:
    """Return how many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


if __name__ == "__main__":
    take_part(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
