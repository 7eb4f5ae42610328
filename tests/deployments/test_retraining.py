"""deployments/scripts/retrain.sh against a real tracking server: what a scheduled workflow does, on phantoms."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pneumonia.registry import models
from tests.support.delivery import ROOT
from tests.support.small import OPEN_GATE, SMALL

NAME = "pneumonia-tiny-phantom"


def retrain(what: str, work: Path, server: str) -> str:
    settings = (each.split("=") for each in (*SMALL, *OPEN_GATE) if not each.startswith("data.root"))
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "OMP_NUM_THREADS") if name in os.environ}
    environment |= {f"PNEUMONIA_{key.upper().replace('.', '__')}": value for key, value in settings}
    environment |= {"PNEUMONIA_WORK": str(work), "PREFECT_HOME": str(work / "prefect"), "RETRAIN_DATA": "phantom"}
    environment |= {"PNEUMONIA_SERVING__MODEL": NAME, "MLFLOW_TRACKING_URI": server}
    environment["MONITORING_DATABASE_URI"] = f"sqlite:///{work / 'events.db'}"
    command = [ROOT / "deployments/scripts/retrain.sh", what, "fast"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_a_machine_that_keeps_nothing_makes_a_champion_and_the_next_looks_at_it(
    mlflow_server: str, tmp_path: Path
) -> None:
    """Each run has a work folder of its own, as a runner has; what they share is the server."""
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
    retrain("pipeline", tmp_path / "first", mlflow_server)
    champion = models.champion(mlflow_server, NAME)
    assert champion is not None
    assert champion.version == "1"
    printed = retrain("monitor", tmp_path / "second", mlflow_server)
    assert "Watching the champion of pneumonia-tiny-phantom" in printed
    assert "action   none" in printed, "there are no events yet"
    assert models.champion(mlflow_server, NAME) == champion
