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
def test_without_memory_the_network_is_used(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def full(file: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert exchange._make(4096) == (None, b"")
    assert re.search("no memory to share .*No space left.*over the network", caplog.text)
    assert len(list(Path("/proc/self/fd").iterdir())) == before, "the file is closed"


if __name__ == "__main__":
    take_part(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
