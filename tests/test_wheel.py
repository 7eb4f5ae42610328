"""The wheel as somebody installs it who has no checkout and not the flow's extra.

The environment is new and holds the wheel, and of the libraries those alone that the wheel requires without an extra,
and what these require in turn: each is linked from the environment that runs the tests, since to install them again
would take a network and gigabytes. What the links cannot show: whether an installer resolves the requirements to the
versions that are here. Folders that several packages share (google, opentelemetry) are linked whole.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def required(texts: list[str], extras: frozenset[str]) -> list[Requirement]:
    parsed = [Requirement(text) for text in texts]
    asked = [{"extra": extra} for extra in {"", *extras}]
    return [each for each in parsed if each.marker is None or any(each.marker.evaluate(one) for one in asked)]


def closure(texts: list[str]) -> dict[str, Distribution]:
    """Return what these requirements bring, and what that brings in turn."""
    found: dict[str, Distribution] = {}
    waiting, seen = [(each.name, frozenset(each.extras)) for each in required(texts, frozenset())], set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        found[name] = distribution(name)
        further = required(found[name].requires or [], extras)
        waiting += [(each.name, frozenset(each.extras)) for each in further]
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network, as `pip install .` would build it, from a copy: the build leaves files behind."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in ("pyproject.toml", "README.md", "LICENSE", "pneumonia", "tasks"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def script(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`pneumonia` of an environment with the wheel."""
    folder = tmp_path_factory.mktemp("clean") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=120)
    uv = [Path(sys.executable).with_name("uv"), "--no-config", "pip", "install", "--quiet", "--offline", "--no-deps"]
    subprocess.run([*uv, "--python", folder / "bin/python", wheel], check=True, timeout=120)
    libraries = folder / "lib/python3.11/site-packages"
    installed = Distribution.at(next(libraries.glob("pneumonia-*.dist-info")))
    for each in closure(installed.requires or []).values():
        for top in {file.parts[0] for file in each.files or [] if file.parts[0] not in ("..", "__pycache__")}:
            if not (libraries / top).exists():
                (libraries / top).symlink_to(Path(str(each.locate_file(top))))
    return folder / "bin/pneumonia"


def call(script: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: os.environ[name] for name in ("PATH", "OMP_NUM_THREADS") if name in os.environ}
    return subprocess.run(
        [script, *arguments],
        cwd=cwd,
        env={**environment, "HOME": str(cwd)},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.integration
def test_it_holds_the_library_and_the_steps(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    files = [path for top in ("pneumonia", "tasks") for path in (ROOT / top).rglob("*") if path.is_file()]
    wanted = {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}
    assert len(wanted) > 50
    assert wanted <= set(names)
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {"pneumonia", "tasks"}


@pytest.mark.integration
def test_the_environment_is_what_it_claims(script: Path, tmp_path: Path) -> None:
    code = (
        "import importlib.util as u, json, pneumonia, tasks, torch, mlflow; "
        "print(json.dumps([[n for n in ('prefect', 'dvc', 'kagglehub', 'pytest', 'flows', 'tests')"
        " if u.find_spec(n)], pneumonia.__file__]))"
    )
    done = subprocess.run([script.with_name("python"), "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    importable, file = json.loads(done.stdout)
    assert importable == []
    assert Path(file).is_relative_to(script.parents[1])


@pytest.mark.integration
def test_help_and_configuration(script: Path, tmp_path: Path) -> None:
    shown = call(script, "--help", cwd=tmp_path)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "doctor" in shown.stdout
    for profile in ("fast", "full"):
        config = call(script, "config", "--profile", profile, cwd=tmp_path)
        assert (config.returncode, config.stderr) == (0, "")
        assert "[train]" in config.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.integration
def test_phantoms_are_drawn(script: Path, tmp_path: Path) -> None:
    settings = ["--set", "phantom.size=64"]
    done = call(script, "data", "phantom", "images", "--train", "8", "--test", "8", *settings, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert len(list((tmp_path / "images").rglob("*.jpeg"))) == 16


@pytest.mark.integration
def test_the_doctor_knows_where_it_is(script: Path, tmp_path: Path) -> None:
    done = call(script, "doctor", "--json", cwd=tmp_path)
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["prefect"]["status"] == "warn"
    assert checks["prefect"]["text"] == "not installed"
    assert checks["torch"]["status"] == "ok"
    assert checks["requirements.lock"]["text"] == "not found, so there is nothing to compare with"
