"""What `make up` prints: where the passwords are, and a demo's passwords alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deployments.stack import ROOT

pytestmark = pytest.mark.integration


def up(folder: Path, *arguments: str) -> tuple[str, dict[str, str]]:
    """Run up.sh with a stand-in for Docker's client; return what it printed, and the variables of .env."""
    client, env_file = folder / "bin/docker", folder / "env"
    client.parent.mkdir(exist_ok=True)
    client.write_text("#!/bin/sh\n")
    client.chmod(0o755)
    done = subprocess.run(
        [ROOT / "deployments/scripts/up.sh", *arguments],
        env={"PATH": f"{client.parent}:{os.environ['PATH']}", "ENV_FILE": str(env_file), "PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout, dict(line.split("=", 1) for line in env_file.read_text().splitlines())


def test_it_prints_where_the_passwords_are_and_none_of_them(tmp_path: Path) -> None:
    printed, settings = up(tmp_path)
    for part in ("AIRFLOW", "MLFLOW"):
        assert f"login admin, password {part}_ADMIN_PASSWORD in {tmp_path / 'env'}\n" in printed
    assert f"API key PNEUMONIA_API_KEY in {tmp_path / 'env'}\n" in printed
    secrets = [value for name, value in settings.items() if not name.endswith("_USER")]
    assert len(secrets) == len(settings) - 6
    assert not any(value in printed for value in secrets)


def test_the_demo_prints_the_passwords(tmp_path: Path) -> None:
    printed, settings = up(tmp_path, "--demo")
    assert "login airflow, password airflow\n" in printed
    assert f"login admin, password {settings['MLFLOW_ADMIN_PASSWORD']}\n" in printed
    assert f"Service     http://127.0.0.1:8000   API key {settings['PNEUMONIA_API_KEY']}\n" in printed


def test_the_addresses_of_what_watches_are_there(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("PROMETHEUS_PORT=9191\n")
    assert "Prometheus  http://127.0.0.1:9191   alerts http://127.0.0.1:9093\n" in up(tmp_path)[0]


def test_the_services_port_is_the_one_that_was_set(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("SERVING_PORT=8123\n")
    assert "Service     http://127.0.0.1:8123   API key" in up(tmp_path)[0]
