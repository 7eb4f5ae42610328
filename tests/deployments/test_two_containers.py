"""Two containers with file systems of their own train one model; between them are a bridge network and MLflow.

The containers are the base image of the stack with this checkout and its installed libraries, mounted read-only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.deployments.stack import ROOT, eventually

pytestmark = [pytest.mark.stack, pytest.mark.nightly, pytest.mark.timeout(1800)]

IMAGE = "python:3.11-slim-bookworm"
PORT = 29_500
WORK = "/var/lib/pneumonia"
SETTINGS = (
    "data.root=phantom", "phantom.train=240", "phantom.test=40", "phantom.size=64", "preprocess.size=64",
    "model.architecture=tiny", "train.epochs=40", "train.batch_size=16", "train.shards=4", "train.workers=1",
    "train.precision=fp32", "train.device=cpu", "tracking.system_metrics=false", "evaluation.bootstrap=100",
    "train.checkpoint_seconds=1",
)  # fmt: skip


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"docker {arguments[0]}: {done.stderr[-3000:]}"
    return done.stdout.strip()


def succeeds(*arguments: str) -> bool:
    return subprocess.run(["docker", *arguments], capture_output=True, timeout=60).returncode == 0


class Bridge:
    """A network of its own, and the containers in it."""

    def __init__(self) -> None:
        self.name = f"pneumonia-workers-{uuid.uuid4().hex[:8]}"
        self.containers: list[str] = []
        docker("network", "create", self.name)

    def start(self, name: str, *arguments: str, options: tuple[str, ...] = ()) -> str:
        """Start Python in a container that the others reach by this name."""
        container = f"{self.name}-{name}"
        self.containers.append(container)
        packages = sysconfig.get_path("purelib")
        mounts = ("-v", f"{ROOT}:/repo:ro", "-v", f"{Path(packages).resolve()}:/packages:ro")
        environment = {
            "PYTHONPATH": "/repo:/packages", "HOME": "/root", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_TRACKING_URI": "http://mlflow:5000",
            "PNEUMONIA_WORK": WORK,
        }  # fmt: skip
        named = [part for key, value in environment.items() for part in ("-e", f"{key}={value}")]
        place = ("--network", self.name, "--network-alias", name, "--name", container, "-w", "/var/lib")
        docker("run", "-d", *place, *mounts, *named, *options, IMAGE, "python", *arguments)
        return container

    def member(self, number: int) -> str:
        """Start one of the two containers that train; the first keeps the training."""
        settings = [part for setting in SETTINGS for part in ("--set", setting)]
        meeting = ("--master-addr", "first", "--master-port", str(PORT), "--max-restarts", "2")
        launcher = ("-m", "torch.distributed.run", "--nnodes", "2", "--node-rank", str(number), "--nproc-per-node", "1")
        return self.start(("first", "second")[number], *launcher, *meeting, "-m", "tasks.launch", *settings, "--json")

    def remove(self) -> None:
        docker("rm", "-f", "-v", *self.containers)
        docker("network", "rm", self.name)


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    made = Bridge()
    yield made
    made.remove()


def trained(output: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output[output.index("{\n") : output.rindex("\n}") + 2])
    return found


def alone(work: Path) -> dict[str, Any]:
    """Train on this machine, by one process."""
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PNEUMONIA_WORK": str(work), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tasks.launch", *settings, "--json"]
    done = subprocess.run(command, env=environment, cwd=work, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return trained(done.stdout)


def keep_logs(bridge: Bridge, together: str, alone: str) -> None:
    """Write what both members have said, by time, and the digests, into the file that PNEUMONIA_TEST_LOG names."""
    if file := os.environ.get("PNEUMONIA_TEST_LOG"):
        lines: list[tuple[str, str]] = []
        for container in bridge.containers[1:]:
            done = subprocess.run(["docker", "logs", "-t", container], capture_output=True, text=True, timeout=60)
            pairs = (line.partition(" ") for line in done.stderr.splitlines())
            lines += [(moment, f"{container.rpartition('-')[2]}: {words}") for moment, _, words in pairs]
        text = [f"{moment[11:23]} {words}" for moment, words in sorted(lines, key=lambda line: line[0])]
        text += [f"weights of both containers: {together}", f"weights of one process:     {alone}"]
        Path(file).write_text("\n".join(text) + "\n", encoding="utf-8")


def test_two_containers_train_one_model_and_one_of_them_may_be_killed(bridge: Bridge, tmp_path: Path) -> None:
    store = ("--backend-store-uri", "sqlite:////var/lib/mlflow.db", "--serve-artifacts", "--allowed-hosts", "*")
    store += ("--artifacts-destination", "/var/lib/artifacts")
    serving = ("-m", "mlflow", "server", "--host", "0.0.0.0", "--port", "5000", "--workers", "1")  # noqa: S104
    published = ("-p", "127.0.0.1::5000")
    server = bridge.start("mlflow", *serving, *store, options=published)
    address = f"http://{docker('port', server, '5000').splitlines()[0]}"
    eventually("MLflow answers", lambda: requests.get(f"{address}/health", timeout=5).ok, 240)
    first, second = bridge.member(0), bridge.member(1)
    checkpoint = f"ls {WORK}/training/*/checkpoint.safetensors"
    eventually("a checkpoint", lambda: succeeds("exec", first, "sh", "-c", checkpoint), 600)
    # the worker of the second container; its launcher is process 1
    docker("exec", second, "python", "-c", KILL)
    codes = [docker("wait", container) for container in (first, second)]
    output = docker("logs", first)
    assert codes == ["0", "0"], (output[-3000:], docker("logs", second)[-3000:])
    found = trained(output)
    expected = alone(tmp_path)["weights_digest"]
    keep_logs(bridge, found["weights_digest"], expected)
    assert found["weights_digest"] == expected
    assert len(found["computed_with"]) == 1
    run = requests.get(f"{address}/api/2.0/mlflow/runs/get", params={"run_id": found["run_id"]}, timeout=30).json()
    assert run["run"]["info"]["status"] == "FINISHED"
    named = {"path": "weights/model.safetensors", "run_id": found["run_id"]}
    weights = requests.get(f"{address}/get-artifact", params=named, timeout=60)
    assert len(weights.content) > 100_000, "the weights lie in the store between them"
    written = docker("diff", second).splitlines()
    assert not [line for line in written if f"{WORK}/training" in line or "mlflow.db" in line]
    assert [line for line in written if f"{WORK}/" in line and line.endswith(".npy")], "it has images of its own"


KILL = """
import os, signal
from pathlib import Path
for process in Path("/proc").glob("[0-9]*"):
    words = (process / "cmdline").read_bytes().split(b"\\0")
    if b"tasks.launch" in words and b"torch.distributed.run" not in words:
        os.kill(int(process.name), signal.SIGKILL)
        break
else:
    raise SystemExit("there is no worker")
"""
