"""`make install` and its neighbours, in a folder whose name has a space.

Interpreters and installers are stand-ins that write down how they were called: what they do is their own matter. The
nightly test installs for real.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = ("Makefile", "deployments/deployments.mk", "deployments/scripts", "pyproject.toml")
LOCKS = (
    "requirements.lock",
    "requirements-cuda.lock",
    "deployments/airflow/requirements.lock",
    "deployments/delivery/requirements.lock",
)
TOOLS = ("bash", "env", "make", "sed", "cat", "uname", "dirname", "touch", "rm", "mkdir", "grep", "awk", "git", "sleep")

# Writes down how it was called; `python -m venv` and `uv venv` make an environment with stand-ins of the same kind.
STAND_IN = f"""#!{sys.executable}
import json, os, pathlib, shutil, sys
VERSION = {{version!r}}
name, arguments = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps([name, arguments, os.environ.get("VIRTUAL_ENV")]) + "\\n")
if arguments[:1] == ["-c"] and "version_info" in arguments[1]:
    print(VERSION)
if "venv" in arguments:
    pathlib.Path(".venv/bin").mkdir(parents=True, exist_ok=True)
    for other in ("python", "uv", "pneumonia"):
        shutil.copy(sys.argv[0], f".venv/bin/{{{{other}}}}")
"""


class Checkout:
    """A copy of what `make` needs, and a PATH of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "a folder"
        self.bin = folder / "bin"
        self._calls = folder / "calls"
        for name in FILES:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            copy(ROOT / name, self.folder / name)
        for name in LOCKS:
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).touch()
        self.bin.mkdir()
        for name in TOOLS:
            (self.bin / name).symlink_to(str(shutil.which(name)))

    def have(self, name: str, version: str = "3.11", folder: str | None = None) -> Path:
        """Put a stand-in on PATH, or into a folder."""
        path = (Path(folder) if folder else self.bin) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(STAND_IN.format(version=version))
        path.chmod(0o755)
        return path

    def system(self, name: str) -> None:
        """Be another operating system, as far as `uname` goes."""
        (self.bin / "uname").unlink()
        (self.bin / "uname").write_text(f"#!/bin/sh\necho {name}\n")
        (self.bin / "uname").chmod(0o755)

    def make(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        self._calls.write_text("")
        return subprocess.run(
            ["make", *arguments],
            cwd=self.folder,
            env={"PATH": str(self.bin), "CALLS": str(self._calls), "HOME": str(self.folder), **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def calls(self) -> list[str]:
        """What the stand-ins were called with, without the questions for their version; each in its own environment."""
        found = [json.loads(line) for line in self._calls.read_text().splitlines()]
        for name, arguments, environment in found:
            if name == "uv" and arguments[0] != "venv":
                assert environment == str(self.folder / ".venv"), "one word, with its space"
        return [shlex.join([name, *arguments]) for name, arguments, _ in found if arguments[0] != "-c"]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def libraries(calls: list[str]) -> list[str]:
    return [call for call in calls if "uv --no-config pip install" in call]


@pytest.mark.integration
def test_a_folder_with_a_space_and_no_git(checkout: Checkout) -> None:
    checkout.have("python3.11")
    done = checkout.make("install")
    assert done.returncode == 0, done.stderr
    calls = checkout.calls()
    assert calls[0] == "python3.11 -m venv --clear .venv"
    assert calls[1].startswith("python -m pip install --quiet")
    torch, locked, project = libraries(calls)
    assert torch.endswith("--torch-backend cpu torch==2.13.0 torchvision==0.28.0")
    assert locked.endswith("--no-deps --compile-bytecode --require-hashes --requirement requirements.lock")
    assert project.endswith("--no-build-isolation --editable .")
    assert [line[:4] for line in done.stderr.splitlines()] == ["[1/5", "[2/5", "[3/5", "[4/5", "[5/5"]
    assert checkout.make("install").returncode == 0
    assert checkout.calls() == [], "it is done once"


@pytest.mark.integration
def test_every_target_knows_its_folder(checkout: Checkout) -> None:
    """As shell words, no path of the checkout is torn apart; `make -n` says what would be done."""
    checkout.have("python3.11")
    targets = re.findall(r"^([a-z-]+):.*## ", "".join((ROOT / name).read_text() for name in FILES[:2]), re.MULTILINE)
    assert {"install", "run", "ui", "test", "test-quick", "test-nightly", "lint", "lock", "up", "backup"} <= set(
        targets
    )
    for target in targets:
        done = checkout.make("-n", target, "BACKUP=my backup/1", "ENV_FILE=my env")
        assert (done.returncode, done.stderr) == (0, ""), target
        words = [word for line in done.stdout.replace("\\\n", " ").splitlines() for word in shlex.split(line)]
        for word in words:
            if str(checkout.folder.parent) in word:
                assert word == f"VIRTUAL_ENV={checkout.folder}/.venv", target
        if target in ("backup", "restore"):
            assert "my backup/1" in words
            assert "ENV_FILE=my env" in words


@pytest.mark.integration
@pytest.mark.parametrize("backend", ["cuda", "cu130", "cu126"])
def test_cuda_comes_from_its_own_lock_and_stays(checkout: Checkout, backend: str) -> None:
    checkout.have("python3.11")
    assert checkout.make("install", f"TORCH_BACKEND={backend}").returncode == 0
    locked, project = libraries(checkout.calls())
    assert locked.endswith("--no-deps --compile-bytecode --require-hashes --requirement requirements-cuda.lock")
    assert project.endswith("--editable .")
    assert checkout.make("run").returncode == 0
    assert checkout.calls() == ["python flows/pipeline.py"], "a later command takes what is installed"
    assert checkout.make("install", "TORCH_BACKEND=cpu").returncode == 0
    assert any("requirements.lock" in call for call in checkout.calls())
    assert checkout.make("run").returncode == 0
    assert checkout.calls() == ["python flows/pipeline.py"]


@pytest.mark.integration
def test_an_unknown_backend_is_refused(checkout: Checkout) -> None:
    done = checkout.make("install", "TORCH_BACKEND=rocm6.4")
    assert done.returncode == 2
    assert "TORCH_BACKEND=rocm6.4: choose cpu or cuda" in done.stderr


@pytest.mark.integration
def test_macos_takes_torch_from_the_index(checkout: Checkout) -> None:
    checkout.system("Darwin")
    checkout.have("python3.11")
    assert checkout.make("install").returncode == 0
    locked, _ = libraries(checkout.calls())
    assert locked.endswith("--requirement requirements-cuda.lock")


@pytest.mark.integration
def test_a_folder_of_wheels_counts_where_it_has_torch(checkout: Checkout, tmp_path: Path) -> None:
    checkout.have("python3.11")
    wheels = [tmp_path / "one", tmp_path / "two"]
    for folder in wheels:
        folder.mkdir()
    given = {"PIP_FIND_LINKS": " ".join(map(str, wheels))}
    checkout.make("install", **given)
    assert "--torch-backend cpu" in libraries(checkout.calls())[0]
    (wheels[1] / "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl").touch()
    checkout.make("--always-make", "install", **given)
    torch = libraries(checkout.calls())[0]
    assert f"--find-links {wheels[1]} torch==" in torch
    assert str(wheels[0]) not in torch


@pytest.mark.integration
@pytest.mark.parametrize("version", ["3.12", "3.10", ""])
def test_a_wrong_python_is_refused_before_anything_is_touched(checkout: Checkout, version: str) -> None:
    """Also where uv could help: whoever names an interpreter means it."""
    checkout.have("uv")
    chosen = checkout.have("python", version, folder=str(checkout.folder.parent / "other place"))
    if not version:
        chosen.unlink()
    kept = checkout.folder / ".venv" / "kept"
    kept.parent.mkdir()
    kept.touch()
    done = checkout.make("install", f"PYTHON={chosen}")
    assert done.returncode == 2
    said = f"is Python {version}" if version else "does not start"
    assert f"error: PYTHON={chosen} {said}; name Python 3.11: make PYTHON=/path/to/python3.11" in done.stderr
    assert checkout.calls() == []
    assert kept.exists()
    right = checkout.have("python", folder=str(checkout.folder.parent / "right place"))
    assert checkout.make("install", f"PYTHON={right}").returncode == 0
    assert checkout.calls()[0] == "python -m venv --clear .venv"


@pytest.mark.integration
@pytest.mark.parametrize("version", [None, "3.12", "3.11 without venv"])
def test_without_python_3_11_uv_brings_one(checkout: Checkout, version: str | None) -> None:
    """Also where `python3.11` is a shim of another one's, or Debian's, which has no venv without a package."""
    checkout.have("uv")
    if version:
        path = checkout.have("python3.11", version.split()[0])
        if "without" in version:
            path.write_text(
                path.read_text().replace("print(VERSION)", "print(VERSION)\nelif '-c' in arguments: sys.exit(1)")
            )
    done = checkout.make("install")
    assert done.returncode == 0, done.stderr
    calls = checkout.calls()
    assert calls[0] == "uv venv --quiet --seed --python 3.11 .venv"
    assert "uv==" in calls[1], "from here on with the version that the locks were made with"
    assert len(libraries(calls)) == 3


@pytest.mark.integration
@pytest.mark.parametrize(
    ("system", "command"),
    [("Linux", "curl -LsSf https://astral.sh/uv/install.sh | sh"), ("Darwin", "brew install uv")],
)
def test_without_both_one_command_is_named(checkout: Checkout, system: str, command: str) -> None:
    checkout.system(system)
    done = checkout.make("run")
    assert done.returncode == 2
    assert f"\n  {command}\n" in done.stderr
    assert not (checkout.folder / ".venv").exists()


@pytest.mark.integration
def test_a_step_tells_that_it_lives_and_how_it_ended(tmp_path: Path) -> None:
    script = ROOT / "deployments/scripts/step.sh"
    environment = {**os.environ, "BEAT_SECONDS": "0.3"}
    before = time.monotonic()
    done = subprocess.run(
        [script, "--bar", "1/5 words", "bash", "-c", "echo out; sleep 1; exit 7"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (7, "out\n")
    first, *lines = done.stderr.splitlines()
    assert first == "[1/5 words]"
    assert len(lines) >= 2
    assert all(re.fullmatch(r"\[1/5 words\] \d+ s", line) for line in lines)
    assert subprocess.run([script, "words", "true"], env={**environment, "BEAT_SECONDS": "60"}).returncode == 0
    assert time.monotonic() - before < 20, "nobody waits for the beat"


@pytest.mark.nightly
@pytest.mark.integration
@pytest.mark.timeout(1800)
def test_a_clone_in_a_folder_with_a_space_installs_and_runs(tmp_path: Path) -> None:
    folder = tmp_path / "a folder" / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    environment = {
        name: text for name, text in os.environ.items() if not name.startswith(("PNEUMONIA_", "MAKE", "MFLAGS"))
    }
    environment["PREFECT_HOME"] = str(tmp_path / "prefect")
    settings = "phantom.train=64 phantom.test=32 phantom.size=64 preprocess.size=32 train.epochs=1 data.root=phantom"
    arguments = " ".join(f"--set {setting}" for setting in settings.split())
    done = subprocess.run(
        ["bash", "-c", 'umask 077; make run ARGS="$0" && .venv/bin/pneumonia config', arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "AUROC" in done.stdout
    assert "[train]" in done.stdout, "a script that starts with a path with a space"
    checked = subprocess.run([".venv/bin/uv", "pip", "check"], cwd=folder, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
