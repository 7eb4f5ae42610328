"""A training that is killed goes on as if nothing had happened, to the last bit of its weights."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.support.killed import EPOCH_STEPS, EPOCHS

STEPS = EPOCHS * EPOCH_STEPS


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    memory = Path("/dev/shm")  # noqa: S108 - checkpoints in memory, where there is room for them
    place = memory if memory.is_dir() and shutil.disk_usage(memory).free > 2e9 else None
    with TemporaryDirectory(dir=place) as folder:
        done = subprocess.run(
            [sys.executable, Path(__file__).parents[1] / "support/killed.py", folder],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=500,
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_undisturbed(found: dict[str, Any]) -> None:
    assert found["undisturbed"]["steps"] == list(range(1, STEPS + 1))
    assert not found["undisturbed"]["resumed"]
    assert len(found["undisturbed"]["digest"]) == 64


@pytest.mark.slow
def test_ten_kills_ten_resumes_one_digest(found: dict[str, Any]) -> None:
    assert len(found["kills"]) == 10
    for kill in found["kills"]:
        assert kill["killed"]["status"] == -9, "the training had ended before the signal came"
        assert kill["resumed"]["digest"] == found["undisturbed"]["digest"], kill
        if kill["killed"]["steps"][-1] > EPOCH_STEPS + 1:
            assert kill["resumed"]["resumed"]
            assert kill["resumed"]["steps"][0] > 1, "the first epoch is not trained again"
    assert len({kill["killed"]["steps"][-1] for kill in found["kills"]}) >= 5, "at different moments"


def test_one_training_killed_again_and_again(found: dict[str, Any]) -> None:
    *killed, last = found["often"]
    assert [run["status"] for run in killed] == [-9, -9, -9]
    assert (last["digest"], last["resumed"]) == (found["undisturbed"]["digest"], True)


def test_a_polite_end_keeps_the_steps_of_an_unfinished_epoch(found: dict[str, Any]) -> None:
    ended, resumed = found["polite"]
    assert ended["status"] == 1
    assert resumed["steps"][0] == ended["steps"][-1] + 1, "it goes on at the very step"
    assert resumed["digest"] == found["undisturbed"]["digest"]
