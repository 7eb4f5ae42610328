"""The wheel as somebody installs it who has no checkout: with the extra that trains, and without any.

The environment is new and holds the wheel, and of the libraries those alone that the wheel requires with these extras,
and what these require in turn: each is linked from the environment that runs the tests, since to install them again
would take a network and gigabytes. What the links cannot show: whether an installer resolves the requirements to the
versions that are here. Folders that several packages share (google, opentelemetry) are linked whole.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from PIL import Image

from tests.support import exports, wheels

ROOT = Path(__file__).parents[1]


def required(texts: list[str], extras: frozenset[str]) -> list[Requirement]:
    parsed = [Requirement(text) for text in texts]
    asked = [{"extra": extra} for extra in {"", *extras}]
    return [each for each in parsed if each.marker is None or any(each.marker.evaluate(one) for one in asked)]


def closure(texts: list[str], chosen: frozenset[str]) -> dict[str, Distribution]:
    """Return what these requirements bring with these extras, and what that brings in turn."""
    found: dict[str, Distribution] = {}
    waiting, seen = [(each.name, frozenset(each.extras)) for each in required(texts, chosen)], set()
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
    return wheels.build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def script(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`pneumonia` of an environment with the wheel and the extra `training`."""
    return installed(wheel, tmp_path_factory.mktemp("clean") / "environment", frozenset({"training"}))


@pytest.fixture(scope="module")
def plain(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`pneumonia` of an environment with the wheel and no extra."""
    return installed(wheel, tmp_path_factory.mktemp("plain") / "environment", frozenset())


def installed(wheel: Path, folder: Path, extras: frozenset[str]) -> Path:
    """Make an environment with the wheel and these extras, and return its script."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=120)
    wheels.install(folder, "--offline", wheel)
    libraries = folder / "lib/python3.11/site-packages"
    project = Distribution.at(next(libraries.glob("pneumonia-*.dist-info")))
    for each in closure(project.requires or [], extras).values():
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
    plain = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    python = script.with_name("python")
    done = subprocess.run([python, "-c", code], cwd=tmp_path, env=plain, capture_output=True, text=True)
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


@pytest.mark.integration
def test_without_an_extra_it_scores_and_says_what_the_rest_needs(plain: Path, tmp_path: Path) -> None:
    """A model that was exported answers without torch and MLflow; what trains names the extra."""
    exports.mirrored(tmp_path / "work")
    Image.fromarray(exports.phantoms(1, 5).pixels[0]).save(tmp_path / "image.png")
    settings = ["--set", f"work={tmp_path / 'work'}", "--set", "serving.model=pneumonia-tiny-phantom"]
    done = call(plain, "predict", "image.png", "--json", *settings, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert 0 <= found["probability"] <= 1
    for command, extra in ((["doctor"], "training"), (["serve"], "serving")):
        done = call(plain, *command, *settings, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"is not installed here; install it with what else belongs to it: pip install 'pneumonia[{extra}]'" in (
            done.stderr
        )
