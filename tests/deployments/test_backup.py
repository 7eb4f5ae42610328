"""make backup and make restore where they cannot work: one line that says what to do, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.deployments.stack import ROOT

pytestmark = pytest.mark.integration
# Stands for Docker's client: `running` names the parts that run, `fails` the command that does. What a container would
# do with a key is done here, in a folder below VOLUMES: the service's in serving, Airflow's in work.
DOCKER = """#!/bin/sh
case "$*" in
  *"$FAILS"*) echo "it fails here" >&2; exit 1 ;;
  info*) ;;
  *" ps "*) for part in $RUNNING; do case "$*" in *" $part") echo 0123456789ab ;; esac; done ;;
  *" sh -c "*)
    volume=$VOLUMES/work
    while [ "$1" != sh ]; do [ "$1" != serving ] || volume=$VOLUMES/serving; shift; done
    exec sh -c "$(echo "$3" | sed "s#/var/lib/pneumonia#$volume#g")" ;;
  *) echo "content" ;;
esac
"""


class Machine:
    """A folder with an .env, a stand-in for Docker's client, and what the scripts are told of them."""

    def __init__(self, folder: Path) -> None:
        self.env_file, self.backups = folder / "env", folder / "backups"
        self.env_file.write_text("POSTGRES_PASSWORD=x\n")
        client = folder / "bin/docker"
        client.parent.mkdir()
        client.write_text(DOCKER)
        client.chmod(0o755)
        self.volumes = folder / "volumes"
        self.volume, self.serving = self.volumes / "work", self.volumes / "serving"
        for volume in (self.volume, self.serving):
            volume.mkdir(parents=True)
        self.path = f"{client.parent}:{os.environ['PATH']}"

    def run(self, script: str, folder: Path, running: str = "postgres mlflow", fails: str = "no such command") -> str:
        """Run a script; return its standard error, where it failed."""
        done = subprocess.run(
            [ROOT / "deployments/scripts" / script, folder],
            env={
                "PATH": self.path,
                "ENV_FILE": str(self.env_file),
                "RUNNING": running,
                "FAILS": fails,
                "VOLUMES": str(self.volumes),
            },
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (done.returncode == 0) is (done.stderr == ""), done.stderr
        return done.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_backup_is_whole_and_its_owners(machine: Machine) -> None:
    folder = machine.backups / "one"
    assert machine.run("backup.sh", folder) == ""
    assert [path.name for path in machine.backups.iterdir()] == ["one"]
    assert {path.name for path in folder.iterdir()} == {
        "airflow.dump",
        "mlflow.dump",
        "monitoring.dump",
        "artifacts.tar.gz",
    }
    assert not any(path.stat().st_mode & 0o077 for path in (folder, *folder.iterdir()))


def test_a_backup_takes_the_patients_key_and_brings_it_back(machine: Machine) -> None:
    key = machine.volume / "patient.key"
    key.write_bytes(bytes(range(31)) + b"\n")  # any bytes, as they are
    folder = machine.backups / "one"
    assert machine.run("backup.sh", folder) == ""
    assert (folder / "patient.key").read_bytes() == key.read_bytes()
    assert not (folder / "patient.key").stat().st_mode & 0o077
    content = key.read_bytes()
    key.unlink()  # an empty stack
    assert machine.run("restore.sh", folder) == ""
    assert (key.read_bytes(), key.stat().st_mode & 0o777) == (content, 0o600)
    assert machine.run("restore.sh", folder) == ""
    assert [path.name for path in machine.volume.iterdir()] == ["patient.key"], "the same key is not kept twice"
    key.write_bytes(bytes(32))
    assert machine.run("restore.sh", folder) == ""
    assert key.read_bytes() == content
    (other,) = machine.volume.glob("patient.key.before-*")
    assert other.read_bytes() == bytes(32)


def test_the_services_key_survives_its_machine(machine: Machine) -> None:
    """Readers' pseudonyms are made with it, which is not the pipeline's."""
    for volume, byte in ((machine.volume, b"p"), (machine.serving, b"s")):
        (volume / "patient.key").write_bytes(32 * byte)
    folder = machine.backups / "one"
    assert machine.run("backup.sh", folder) == ""
    for volume in (machine.volume, machine.serving):
        (volume / "patient.key").unlink()
    assert machine.run("restore.sh", folder) == ""
    assert (machine.volume / "patient.key").read_bytes() == 32 * b"p"
    assert (machine.serving / "patient.key").read_bytes() == 32 * b"s"
    (machine.serving / "patient.key").write_bytes(b"short")
    assert "patient.key of serving: is not a key of 32 bytes" in machine.run("backup.sh", machine.backups / "two")


def test_a_backup_without_a_key_leaves_the_stacks_key(machine: Machine) -> None:
    folder = machine.backups / "one"
    machine.run("backup.sh", folder)
    (machine.volume / "patient.key").write_bytes(bytes(32))
    assert machine.run("restore.sh", folder) == ""
    assert (machine.volume / "patient.key").read_bytes() == bytes(32)


def test_a_key_that_is_none_is_not_taken_and_not_brought_back(machine: Machine) -> None:
    folder = machine.backups / "one"
    (machine.volume / "patient.key").write_bytes(b"short")
    assert "is not a key of 32 bytes, so nothing was backed up" in machine.run("backup.sh", folder)
    assert list(machine.backups.iterdir()) == []
    (machine.volume / "patient.key").write_bytes(bytes(32))
    machine.run("backup.sh", folder)
    (folder / "patient.key").write_bytes(b"short")
    assert f"{folder}/patient.key: is not a key of 32 bytes" in machine.run("restore.sh", folder)


@pytest.mark.parametrize("running", ["", "postgres", "mlflow"])
def test_where_the_stack_does_not_run_nothing_is_written(machine: Machine, running: str) -> None:
    words = machine.run("backup.sh", machine.backups / "one", running)
    away = "mlflow" if running == "postgres" else "postgres"
    assert words == f"{away} does not run, so nothing was backed up; start the stack first: make up\n"
    assert not machine.backups.exists()


def test_before_the_first_make_up_nothing_is_written(machine: Machine) -> None:
    machine.env_file.unlink()
    words = machine.run("backup.sh", machine.backups / "one")
    assert words == f"{machine.env_file}: not there, so there is no stack to back up; start one first: make up\n"
    assert not machine.backups.exists()


def test_without_an_engine_nothing_is_written(machine: Machine) -> None:
    for script, folder in (("backup.sh", machine.backups / "one"), ("up.sh", Path("--demo"))):
        assert machine.run(script, folder, fails="info").startswith("no Docker Engine answers; install and start one")
    assert not machine.backups.exists()


@pytest.mark.parametrize("step", ["pg_dump --username postgres --format custom mlflow", " tar -C ", " sh -c "])
def test_a_backup_that_breaks_off_leaves_nothing(machine: Machine, step: str) -> None:
    assert machine.run("backup.sh", machine.backups / "one", fails=step) == "it fails here\n"
    assert list(machine.backups.iterdir()) == []


def test_a_backup_replaces_none(machine: Machine) -> None:
    folder = machine.backups / "one"
    machine.run("backup.sh", folder)
    (folder / "mlflow.dump").write_text("the first one's")
    assert f"{folder}: exists already" in machine.run("backup.sh", folder)
    assert (folder / "mlflow.dump").read_text() == "the first one's"


def test_a_backup_is_not_brought_back_without_its_secrets(machine: Machine) -> None:
    folder = machine.backups / "one"
    machine.run("backup.sh", folder)
    machine.env_file.unlink()
    assert f"{machine.env_file}: not there; bring the one that belongs to the backup" in machine.run(
        "restore.sh", folder
    )


@pytest.mark.parametrize("missing", ["airflow.dump", "mlflow.dump", "monitoring.dump", "artifacts.tar.gz"])
def test_an_incomplete_backup_is_not_brought_back(machine: Machine, missing: str) -> None:
    folder = machine.backups / "one"
    machine.run("backup.sh", folder)
    (folder / missing).unlink()
    assert f"{folder}: holds no {missing}; name a folder that make backup has written" in machine.run(
        "restore.sh", folder
    )
