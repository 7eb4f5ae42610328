"""The service's container as a process of this machine: the chart's command, variables and folders, and its probes.

What is missing of Kubernetes: its folders are somewhere else, it listens on loopback, MLflow is away, as it may be when
a container restarts, and the database is SQLite. The booted stack (test_stack.py) runs the images themselves.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pneumonia.monitoring.database import Database
from tests.deployments.chart import Rendered, environment_of, stage_of, variables_of
from tests.deployments.stack import ROOT
from tests.support.exports import mirrored
from tests.support.mlflow_server import free_port
from tests.support.serving import DIRECT

pytestmark = pytest.mark.integration
KEY = "the key of a test"
SECRETS = {
    "PNEUMONIA_API_KEY": KEY,
    "PNEUMONIA_METRICS_KEY": "the metrics' own",
    "MLFLOW_SERVING_PASSWORD": "the service's",
    "MONITORING_DB_PASSWORD": "the service's too",
    "MLFLOW_PIPELINE_PASSWORD": "the pipeline's",
}
MODEL = "pneumonia-tiny-phantom"
OLD_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "PYTHONPATH")


class Container:
    """A container of the chart as a process.

    Attributes:
        url: of what it serves.
        status: of each probe is asked from here.
    """

    def __init__(self, container: Mapping[str, Any], root: Path, **changed: str) -> None:
        self.spec, self.root = container, root
        mounts = sorted((mount["mountPath"] for mount in container["volumeMounts"]), key=len, reverse=True)
        for mount in mounts:
            if not mount.endswith(".key"):
                self.place(mount).mkdir(parents=True, exist_ok=True)
        given = variables_of("serving") | environment_of(container, SECRETS)
        inside = {name: self.moved(text, mounts) for name, text in given.items() if name != "PATH"}
        self.environment = {name: os.environ[name] for name in OLD_ENVIRONMENT if name in os.environ} | inside | changed
        self.log = root / "log"
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    def place(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def moved(self, text: str, mounts: list[str]) -> str:
        mount = next((each for each in mounts if text == each or text.startswith(f"{each}/")), None)
        return text if mount is None else str(self.place(text))

    def command(self) -> list[str]:
        program, *arguments = self.spec["args"]
        assert program in ("python", variables_of("airflow")["LIBRARY_PYTHON"])
        folder = "serving" if program == "python" else "airflow"
        found = [argument.replace("/opt/stack/", f"{ROOT}/deployments/{folder}/") for argument in arguments]
        return [sys.executable, *found]

    def start(self) -> None:
        """Start it and wait for the line that says where it listens."""
        workdir = re.search(r"^WORKDIR (\S+)", stage_of("serving"), re.MULTILINE)
        assert workdir
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                env=self.environment,
                cwd=self.place(workdir[1]),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.match(r"(http://\S+): ", line)
        assert found, (line, self.log.read_text())
        self.url = found[1]

    def probe(self, kind: str) -> int:
        """The status that a probe gets."""
        asked = self.spec[f"{kind}Probe"]["httpGet"]
        try:
            with DIRECT.open(self.url + asked["path"], timeout=self.spec[f"{kind}Probe"]["timeoutSeconds"]) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def wait_for(self, kind: str, status: int) -> None:
        """Ask as often and as long as Kubernetes does."""
        probe = self.spec[f"{kind}Probe"]
        end = time.monotonic() + probe["periodSeconds"] * probe["failureThreshold"]
        while (found := self.probe(kind)) != status:
            assert time.monotonic() < end, (kind, found, self.log.read_text())
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 60) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.wait(seconds)


@pytest.fixture
def container(charts: dict[str, Rendered], tmp_path: Path) -> Iterator[Container]:
    """The service's container of the defaults; MLflow is away, the database SQLite in its folder."""
    made = Container(
        charts["defaults"].container("serving"),
        tmp_path,
        PNEUMONIA_SERVING__HOST="127.0.0.1",
        PNEUMONIA_SERVING__PORT="0",
        PNEUMONIA_SERVING__MODEL=MODEL,
        MLFLOW_TRACKING_URI=f"http://127.0.0.1:{free_port()}",
        MONITORING_DATABASE_URI=f"sqlite:///{tmp_path}/events.db",
    )
    made.place("/var/lib/pneumonia/patient.key").write_bytes(bytes(32))
    made.place("/var/lib/pneumonia/patient.key").chmod(0o440)
    yield made
    if made.process is not None and made.process.poll() is None:
        with contextlib.suppress(OSError):
            made.stop(signal.SIGKILL)


def run(charts: dict[str, Rendered], container: Container, part: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the last container of another part with the chart's own arguments and variables, at this service."""
    spec = [each for name, each in charts["defaults"].containers() if name == part][-1]
    other = Container(spec, container.root)
    command = [re.sub(r"^http://pneumonia-serving:8000$", container.url, word) for word in other.command()]
    environment = other.environment | {"MONITORING_DATABASE_URI": container.environment["MONITORING_DATABASE_URI"]}
    if part == "test":
        del environment["MONITORING_DATABASE_URI"]
    return subprocess.run(
        [*command, *more], env=environment, cwd=container.root, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_pod_from_its_start_to_its_end(charts: dict[str, Rendered], container: Container) -> None:
    """Migrated, alive without a champion, ready with one, asked by helm test, drained."""
    migrated = run(charts, container, "migrations")
    assert migrated.returncode == 0, migrated.stderr
    assert re.search(r"events\.db: its tables are at revision \w+\n", migrated.stdout)

    container.start()
    container.wait_for("startup", 200)
    assert container.probe("readiness") == 503
    asked = run(charts, container, "test", "--wait=0")
    assert (asked.returncode, asked.stdout) == (1, "")
    assert "is not ready: there is no champion to answer with" in asked.stderr
    assert container.stop() == 0

    mirrored(container.place("/var/lib/pneumonia"), name=MODEL)  # the container restarts, its folder is still there
    container.start()
    container.wait_for("startup", 200)
    container.wait_for("readiness", 200)
    asked = run(charts, container, "test")
    assert asked.returncode == 0, asked.stderr
    assert re.search(
        rf"version 1 of {MODEL} scored the phantom 0\.\d+, (NORMAL|PNEUMONIA)\. Not a medical", asked.stdout
    )
    asked = run(charts, container, "test", "--version=9.9.9")  # as where an upgrade has left the program as it was
    assert asked.returncode == 1
    assert re.search(r"runs version \S+, not 9\.9\.9; look at image\.tag and image\.digests", asked.stderr)
    assert container.probe("liveness") == 200
    (pod,) = [pod for part, pod in charts["defaults"].pods() if part == "serving"]
    assert container.stop(seconds=pod["terminationGracePeriodSeconds"]) == 0

    events = Database(container.environment["MONITORING_DATABASE_URI"])
    with events.begin() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM events").scalar() == 1, "of the first"
    events.close()
    written = {path.relative_to(container.root).parts[0] for path in container.root.rglob("*") if path.is_file()}
    assert written <= {"var", "tmp", "events.db", "events.db-wal", "events.db-shm", "events.db.lock", "log"}


def test_helm_test_fails_with_the_reason(charts: dict[str, Rendered], container: Container) -> None:
    container.url = f"http://127.0.0.1:{free_port()}"
    asked = run(charts, container, "test", "--wait=0")
    assert asked.returncode == 1
    assert "Connection refused" in asked.stderr


def test_a_migration_that_fails_ends_the_job(charts: dict[str, Rendered], container: Container) -> None:
    container.log.touch()  # a file, where a folder is needed
    container.environment["MONITORING_DATABASE_URI"] = f"sqlite:///{container.log}/events.db"
    failed = run(charts, container, "migrations")
    assert failed.returncode == 1
    assert failed.stderr.startswith("migrate: ")
    assert "Traceback" not in failed.stderr


def test_a_look_for_drift_without_a_champion(charts: dict[str, Rendered], tmp_path: Path) -> None:
    """The CronJob's container, with the mirror in its folder as the registry: there is nothing in it."""
    spec = charts["s3"].container("monitor")
    looked = Container(spec, tmp_path, MONITORING_DATABASE_URI=f"sqlite:///{tmp_path}/events.db")
    del looked.environment["MLFLOW_TRACKING_URI"]
    done = subprocess.run(
        looked.command(), env=looked.environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("there is no champion of pneumonia-resnet18, ")
