"""Fixtures of the stack: Airflow's environment, and one booted stack for the whole session."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deployments.chart import (
    ACCEPTED,
    OVER_DIGESTS,
    PAGE,
    REFUSED,
    Rendered,
    assignments,
    commands,
    of_the_chart,
    rendered,
    value_sets,
)
from tests.deployments.stack import DAGS, ROOT, Stack

AIRFLOWS_OWN = {
    "AIRFLOW__CORE__FERNET_KEY": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I=",
    "AIRFLOW__API_AUTH__JWT_SECRET": "jwt-secret",
    "AIRFLOW__API__SECRET_KEY": "flask-secret",
    "AIRFLOW_CONN_STORE": "postgresql://me:secret@db/x",
    "SOMETHING_ELSE": "secret",
}
FOR_STEPS = {
    "PNEUMONIA_WORK": "/var/lib/pneumonia",
    "MLFLOW_TRACKING_URI": "http://mlflow:5000",
    "MLFLOW_TRACKING_PASSWORD": "the-pipelines",
    "MINE": "http://mlflow:5000",
}
AIRFLOW_PYTHON = ROOT / ".venv-airflow/bin/python"


@pytest.fixture(scope="session")
def inspected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the DAG files hold, read in Airflow's own environment."""
    if not AIRFLOW_PYTHON.exists():
        pytest.skip(f"{AIRFLOW_PYTHON.relative_to(ROOT)} is not there; make install-airflow makes it")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON"))}
    environment = plain | {"AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow"))}
    environment |= {"AIRFLOW__CORE__LOAD_EXAMPLES": "False", "LIBRARY_PYTHON": "/opt/pneumonia/bin/python"}
    environment |= AIRFLOWS_OWN | FOR_STEPS | {"STEP_VARIABLES": "MINE, OTHER"}
    done = subprocess.run(
        [AIRFLOW_PYTHON, Path(__file__).with_name("inspect_dags.py"), DAGS],
        env=environment,
        timeout=180,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="session")
def dags(inspected: dict[str, Any]) -> dict[str, Any]:
    return {dag["dag_id"]: dag for dag in inspected["dags"]}


@pytest.fixture(scope="session")
def docker() -> None:
    """Skip where there is no Docker client with Compose."""
    if shutil.which("docker") is None:
        pytest.skip("no docker client is installed")
    done = subprocess.run(["docker", "compose", "version"], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        pytest.skip("the docker client has no Compose plugin")


@pytest.fixture(scope="session")
def engine(docker: None) -> None:
    """Skip where no Docker Engine answers."""
    done = subprocess.run(
        ["docker", "info", "--format", "{{.ServerVersion}}"], capture_output=True, text=True, timeout=30, check=False
    )
    if done.returncode:
        pytest.skip(f"no Docker Engine answers: {done.stderr.strip().splitlines()[-1]}")


@pytest.fixture(scope="session")
def stack(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack, built, started by `make up` under a name and with ports of its own, and removed at the end."""
    booted = Stack(tmp_path_factory.mktemp("stack"), f"pneumonia-test-{uuid.uuid4().hex[:8]}")
    try:
        booted.up()
        yield booted
    finally:
        booted.remove()


@pytest.fixture(scope="session")
def rendered_sets() -> dict[str, Any]:
    """What Helm makes of the chart with every set of values, right and wrong; some ten seconds of one core."""
    documented = {" ".join(words): {"--set": assignments(words)} for words in commands(PAGE) if of_the_chart(words)}
    upgraded = {name: {"--set": each} for name, each in {"over digests": OVER_DIGESTS, **ACCEPTED}.items()}
    sets: dict[str, Any] = rendered(value_sets() | dict(REFUSED) | documented | upgraded)["sets"]
    return sets


@pytest.fixture(scope="session")
def charts(rendered_sets: dict[str, Any]) -> dict[str, Rendered]:
    """The chart with each set of values that may be."""
    found = {name: rendered_sets[name] for name in value_sets()}
    assert not [each["error"] for each in found.values() if each["error"]]
    return {name: Rendered(name, each) for name, each in found.items()}
