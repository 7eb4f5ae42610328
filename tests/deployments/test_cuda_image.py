"""The library's image can be built with CUDA from the same Dockerfile. The build itself, of gigabytes, is not tried."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deployments.stack import ROOT
from tests.test_locks import CUDA, RECORD

pytestmark = pytest.mark.integration
DOCKERFILE = (ROOT / "deployments" / "Dockerfile").read_text()
CHOICE = re.search(r"^    set -- (.*?esac;) ", DOCKERFILE, re.MULTILINE | re.DOTALL)


def chosen(backend: str, folder: Path, *, wheels: bool = False) -> subprocess.CompletedProcess[str]:
    """Run the Dockerfile's own lines that choose what torch is installed from, with its paths moved into a folder."""
    assert CHOICE is not None
    script = CHOICE[0].replace("\\\n", " ").replace("/tmp/requirements-cuda.lock", str(ROOT / "requirements-cuda.lock"))  # noqa: S108
    script = script.replace("/tmp/torch-cuda.lock", f"{folder}/torch-cuda.lock").replace("/wheels", f"{folder}/wheels")  # noqa: S108
    (folder / "wheels").mkdir(exist_ok=True)
    if wheels:
        (folder / "wheels" / "torch-2.13.0-cp311.whl").touch()
    command = ["sh", "-c", f'{script} printf "%s\\n" "$*"']
    return subprocess.run(
        command, env={"TORCH_BACKEND": backend, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=20
    )


@pytest.mark.parametrize("backend", ["cuda", "cu130"])
def test_cuda_takes_torch_and_what_it_needs_from_the_lock_with_hashes(backend: str, tmp_path: Path) -> None:
    done = chosen(backend, tmp_path, wheels=True)
    assert done.stdout.strip() == f"--require-hashes --requirement {tmp_path}/torch-cuda.lock", done.stderr
    entries = re.split(r"^(?=[a-z0-9])", (tmp_path / "torch-cuda.lock").read_text(), flags=re.MULTILINE)[1:]
    found = {entry.partition("==")[0]: frozenset(re.findall(r"sha256:([0-9a-f]{64})", entry)) for entry in entries}
    assert found == {name: CUDA[name].hashes for name in RECORD}


def test_without_it_torch_is_the_cpus_from_the_wheels_where_there_are_some(tmp_path: Path) -> None:
    assert chosen("cpu", tmp_path).stdout.split()[:2] == ["--torch-backend", "cpu"]
    assert chosen("cpu", tmp_path, wheels=True).stdout.split()[:2] == ["--find-links", f"{tmp_path}/wheels"]


def test_another_name_is_refused(tmp_path: Path) -> None:
    done = chosen("rocm6.4", tmp_path)
    assert done.returncode == 1
    assert "TORCH_BACKEND=rocm6.4: choose cpu or cuda" in done.stderr


def test_the_lock_reaches_the_build_and_the_argument_the_image() -> None:
    assert "!requirements-cuda.lock" in (ROOT / "deployments" / "Dockerfile.dockerignore").read_text().splitlines()
    compose = (ROOT / "docker-compose.yml").read_text()
    assert "TORCH_BACKEND: ${TORCH_BACKEND:-cpu}" in compose
    gpu = yaml.safe_load((ROOT / "deployments" / "compose.gpu.yml").read_text())["services"]
    assert set(gpu) <= set(yaml.safe_load(compose)["services"])
    [device] = gpu["airflow-scheduler"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]


def test_make_hands_the_argument_on(tmp_path: Path) -> None:
    fake = tmp_path / "docker"
    fake.write_text('#!/bin/sh\nprintf "%s" "$TORCH_BACKEND" > "$(dirname "$0")/backend"\n')
    fake.chmod(0o755)
    command = ["make", "--silent", "logs", "TORCH_BACKEND=cuda", f"COMPOSE={fake}"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=30, capture_output=True)
    assert (tmp_path / "backend").read_text() == "cuda"
