"""The whole pipeline under torchrun: one process runs the steps, the other computes its share of the training."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.small import OPEN_GATE, SMALL

ROOT = Path(__file__).parents[2]


@pytest.mark.nightly
@pytest.mark.integration
def test_the_pipeline_trains_with_two_processes_and_runs_its_steps_once(tmp_path: Path) -> None:
    settings = (*SMALL, *OPEN_GATE, f"work={tmp_path}", "train.shards=4", "registry.name=pneumonia-tiny-phantom")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(ROOT / "flows/pipeline.py"), *(part for setting in settings for part in ("--set", setting))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Not a medical device.") == 1
    assert "champion, version 1" in done.stdout
    assert len(list(tmp_path.glob("training/*/checkpoint.safetensors"))) == 1


@pytest.mark.integration
@pytest.mark.parametrize("flow", ["cross_validation.py", "monitor.py", "score_archive.py"])
def test_a_flow_that_no_launcher_can_share_refuses_before_it_loads_anything(flow: str, tmp_path: Path) -> None:
    environment = {**os.environ, "WORLD_SIZE": "2", "RANK": "1"}
    command = [sys.executable, str(ROOT / "flows" / flow)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert f"2 processes of {flow}" in done.stderr
    assert "--set train.shards=2" in done.stderr
    assert not list(tmp_path.iterdir())
