"""The roles on a PostgreSQL outside of the stack, whose administrator is no superuser, as on a managed one."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deployments.stack import ROOT, eventually
from tests.deployments.test_compose_outside import config

pytestmark = pytest.mark.stack
IMAGE = "postgres:17-trixie"
START_SECONDS = 300  # ten on a machine that does nothing else
DATABASES = ("airflow", "mlflow", "monitoring")
OWNERS = "--command=SELECT datname, pg_get_userbyid(datdba) FROM pg_database"
ADMINISTRATOR = "CREATE ROLE postgres LOGIN CREATEROLE CREATEDB PASSWORD 'administrators'"


def docker(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0 or not check, f"docker {' '.join(arguments)}: {done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture
def outside(engine: None) -> Iterator[str]:
    """A network with a database in it, of the same name."""
    name = f"pneumonia-outside-{uuid.uuid4().hex[:8]}"
    docker("network", "create", name)
    try:
        settings = ("POSTGRES_USER=owner", "POSTGRES_PASSWORD=owners", "POSTGRES_DB=postgres")
        given = [part for setting in settings for part in ("--env", setting)]
        docker("run", "--detach", "--name", name, "--network", name, *given, IMAGE)
        asked = ("exec", name, "psql", "postgresql://owner:owners@127.0.0.1/postgres", "--command")
        eventually("the database is there", lambda: docker(*asked, "SELECT 1", check=False), START_SECONDS)
        docker(*asked, ADMINISTRATOR)
        yield name
    finally:
        docker("rm", "--force", "--volumes", name, f"{name}-client", check=False)
        docker("network", "rm", name, check=False)


class Client:
    """What Compose would run as `postgres`: the published image with the script."""

    def __init__(self, outside: str, service: dict[str, Any]) -> None:
        self.name = f"{outside}-client"
        script = ROOT / "deployments/postgres/10-roles.sh"
        given = [part for name, value in service["environment"].items() for part in ("--env", f"{name}={value}")]
        given += ["--read-only", *(f"--tmpfs={folder}" for folder in service["tmpfs"]), "--cap-drop=ALL"]
        given += ["--volume", f"{script}:/docker-entrypoint-initdb.d/10-roles.sh:ro", "--user", service["user"]]
        program, *arguments = [*service["entrypoint"], *(part.replace("$$", "$") for part in service["command"])]
        docker("run", "--detach", "--name", self.name, "--network", outside, *given, "--entrypoint", program, IMAGE,
               *arguments)  # fmt: skip
        (_, check) = service["healthcheck"]["test"]
        shell = ("exec", self.name, "sh", "-c", f"{check.replace('$$', '$')} && echo healthy")
        eventually("the roles are made", lambda: docker(*shell, check=False), START_SECONDS)

    def run(self, *arguments: str) -> str:
        return docker("exec", self.name, *arguments)

    def remove(self) -> None:
        docker("rm", "--force", self.name)


def test_roles_are_made_once_and_a_backup_can_be_taken(outside: str, tmp_path: Path) -> None:
    settings = {"DATABASE_HOST": outside, "DATABASE_TLS": "disable", "PRIVATE_ADDRESS": "127.0.0.1"}
    found = config(tmp_path, "managed", settings | {"POSTGRES_PASSWORD": "administrators"})
    service = json.loads(found.stdout)["services"]["postgres"]
    password = service["environment"]["MLFLOW_DB_PASSWORD"]
    for number in range(2):  # a machine that is started again finds the roles
        client = Client(outside, service)
        rows = client.run("psql", "--username=postgres", "--dbname=postgres", "--tuples-only", "--no-align", OWNERS)
        owners = dict(row.split("|") for row in rows.split())
        assert {name: owners.get(name) for name in DATABASES} == {name: name for name in DATABASES}
        client.run(
            "psql", f"postgresql://mlflow:{password}@{outside}/mlflow", f"--command=CREATE TABLE t{number} (a int)"
        )
        assert f"CREATE TABLE public.t{number}" in client.run("pg_dump", "--username=postgres", "mlflow")
        client.remove()
