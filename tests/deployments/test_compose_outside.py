"""The Compose files for a database outside of the stack, and for a service that runs elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.deployments.stack import ROOT, compose_config

pytestmark = pytest.mark.integration
ADDRESS, DATABASE = "10.20.0.2", "database.example.org"
USERS = {"airflow-init", "airflow-apiserver", "airflow-scheduler", "airflow-dag-processor", "mlflow", "serving"}
"""Who talks to the database."""


def config(folder: Path, name: str, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    env_file = folder / "env"
    lines = {"COMPOSE_FILE": f"docker-compose.yml:deployments/compose.{name}.yml", **settings}
    env_file.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
    subprocess.run([sys.executable, ROOT / "deployments/scripts/write_env.py", env_file], check=True, timeout=30)
    return compose_config(env_file)


def ports(services: dict[str, Any]) -> set[tuple[str, int]]:
    return {
        (name, port["target"])
        for name, service in services.items()
        for port in service.get("ports", [])
        if port["host_ip"] == ADDRESS
    }


def test_every_part_goes_to_the_database_outside_by_tls(docker: None, tmp_path: Path) -> None:
    settings = {
        "DATABASE_HOST": DATABASE,
        "PRIVATE_ADDRESS": ADDRESS,
        "ARTIFACTS_DESTINATION": "s3://pneumonia-artifacts",
    }
    done = config(tmp_path, "managed", settings)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    services = found["services"]
    asking = {name for name, service in services.items() if f"@{DATABASE}:5432/" in json.dumps(service)}
    assert asking == USERS
    assert {services[name]["environment"]["PGSSLMODE"] for name in USERS | {"postgres"}} == {"require"}
    assert "@postgres:" not in done.stdout
    assert services["postgres"]["environment"]["PGHOST"] == DATABASE
    assert not services["postgres"].get("volumes"), "it keeps nothing"
    assert not found["networks"]["database"].get("internal"), "the database is reached through it"
    assert ports(services) == {("mlflow", 5000)}
    command = services["mlflow"]["command"]
    assert "--artifacts-destination=s3://pneumonia-artifacts" in command
    assert f"{ADDRESS}:5000" in command[-1]


def test_a_published_stack_listens_on_the_private_address(docker: None, tmp_path: Path) -> None:
    done = config(tmp_path, "published", {"PRIVATE_ADDRESS": ADDRESS})
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    assert ports(services) == {("mlflow", 5000), ("postgres", 5432)}
    assert services["postgres"]["volumes"]


@pytest.mark.parametrize(("name", "missing"), [("managed", "DATABASE_HOST"), ("published", "PRIVATE_ADDRESS")])
def test_without_an_address_nothing_starts(docker: None, tmp_path: Path, name: str, missing: str) -> None:
    settings = {"DATABASE_HOST": DATABASE, "PRIVATE_ADDRESS": ADDRESS}
    done = config(tmp_path, name, {key: value for key, value in settings.items() if key != missing})
    assert done.returncode != 0
    assert missing in done.stderr
