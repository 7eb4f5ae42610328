"""A training as one job: the steps one after the other, in one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deployments.stack import ROOT
from tests.support.small import OPEN_GATE, SMALL

pytestmark = pytest.mark.integration
SCRIPT = ROOT / "deployments/library/run_steps.py"


def job(work: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    given = [argument for setting in (*settings, f"work={work}") for argument in ("--set", setting)]
    return subprocess.run(
        [sys.executable, SCRIPT, "--profile", "fast", *given],
        env=os.environ | {"PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"},
        cwd=work.parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.nightly  # the steps themselves are tried in tests/tasks
def test_a_job_takes_phantoms_to_a_promotion(tmp_path: Path) -> None:
    done = job(tmp_path / "work", *SMALL, *OPEN_GATE)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["promoted"] is True


def test_a_job_that_cannot_be_done_says_why(tmp_path: Path) -> None:
    done = job(tmp_path / "work", "train.epoch=3")
    assert (done.returncode, done.stdout) == (1, "")
    assert "train.epoch (from --set): unknown key; did you mean epochs?" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_job_pulls_the_radiographs_first(tmp_path: Path) -> None:
    script = (ROOT / "deployments/library/train.sh").read_text().replace("/opt/stack", str(tmp_path))
    script = script.replace("/opt/pneumonia/bin/python", "echo").replace("/srv/pneumonia", str(tmp_path))
    pull = tmp_path / "pull-data.sh"
    pull.write_text("#!/bin/sh\necho pulled\nexit ${FAILS:-0}\n")
    pull.chmod(0o755)
    (tmp_path / "train.sh").write_text(script)
    for fails, wanted in (("0", f"pulled\n{tmp_path}/run_steps.py --profile full\n"), ("3", "pulled\n")):
        command = ["sh", tmp_path / "train.sh", "--profile", "full"]
        environment = os.environ | {"FAILS": fails}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode, done.stdout) == (int(fails), wanted)
