"""The rooms: who may import whom, what loads no torch, and that nothing loads a pickle."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support.loaded import loaded

ROOT = Path(__file__).parents[1]
TOPS = ("pneumonia", "tasks", "flows")
FILES = sorted(path for top in TOPS for path in (ROOT / top).rglob("*.py"))
NO_TORCH = (
    "errors", "files", "progress", "config", "records", "imaging", "tracking", "registry", "statistics", "data",
    "reporting", "monitoring", "inference", "evidence", "serving", "cli",
)  # fmt: skip
SERVE = ("monitoring", "inference", "serving")
"""Rooms that are imported where nothing trains; the modules of `WRITE` register something, and no service does that."""
WRITE = ("pneumonia.inference.outside_set", "pneumonia.inference.version_export")
RUN = "pneumonia.monitoring.migrations.env"
"""Alembic runs it with a database; nobody imports it."""
TRAINING = ("torch", "torchvision", "mlflow", "sklearn", "scipy", "matplotlib")
WRONG = {
    "pneumonia/records/wrong.py": ("from pneumonia.data import manifest", "A room imports only from those below it"),
    "pneumonia/unlisted.py": ("", "A room imports only from those below it"),
    "tasks/wrong.py": ("import prefect", "Prefect is known to flows alone"),
    "pneumonia/modelling/wrong.py": ("import tasks.train_model", "The library knows no step"),
    "pneumonia/data/wrong.py": ("def late():\n    import torch", "torch is imported where networks are computed"),
    "pneumonia/inference/wrong.py": ("import mlflow", "mlflow is known to tracking and registry alone"),
    "tasks/drawing.py": ("from matplotlib import figure", "matplotlib is known to reporting alone"),
    "pneumonia/inference/networks.py": ("import torch", "torch is imported where networks are computed"),
    "pneumonia/serving/networks.py": ("import torch", "torch is imported where networks are computed"),
    "pneumonia/cli/wrong.py": ("import fastapi", "Web frameworks are known to serving alone"),
}
"""Modules that break a contract: what they hold, and the contract's name."""


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )


def broken(output: str) -> set[str]:
    return set(re.findall(r"^(.+?) BROKEN\b", output, re.MULTILINE))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The packages and their contracts, to be put wrong."""
    for top in TOPS:
        shutil.copytree(ROOT / top, tmp_path / top, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.integration
def test_the_contracts_hold_and_a_module_that_breaks_one_is_found(copy: Path) -> None:
    done = lint_imports(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    for name, (line, _) in WRONG.items():
        (copy / name).write_text(f"{line}\n")
    done = lint_imports(copy)
    assert done.returncode == 1
    assert len(broken(done.stdout)) == len({contract for _, contract in WRONG.values()})
    for name, (_, contract) in WRONG.items():
        assert any(found.startswith(contract) for found in broken(done.stdout)), f"{name} was not found: {done.stdout}"
    for name in ("records.wrong", "unlisted", "modelling.wrong", "data.wrong", "inference.wrong", "cli.wrong"):
        assert f"pneumonia.{name}" in done.stdout, name


def imported_without(absent: tuple[str, ...], rooms: tuple[str, ...], but: tuple[str, ...]) -> list[str]:
    """Import every module of some rooms, but some, in an interpreter without these packages; return their names."""
    program = f"""
        import importlib, pkgutil, sys

        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {absent!r}:
                    raise ImportError(f"{{name}} is not there")

        sys.meta_path.insert(0, Absent())
        import pneumonia
        for module in pkgutil.walk_packages(pneumonia.__path__, "pneumonia."):
            if module.name.split(".")[1] in {rooms!r} and module.name not in {but!r}:
                importlib.import_module(module.name)
                print(module.name)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.integration
def test_rooms_without_torch_are_imported_where_there_is_none() -> None:
    found = imported_without(("torch", "torchvision"), NO_TORCH, ("pneumonia.tracking.mlflow_model", RUN))
    assert "pneumonia.records.model" in found
    assert len(found) > 80


@pytest.mark.integration
def test_rooms_that_serve_are_imported_where_nothing_trains() -> None:
    """`tests/serving/test_without_torch.py` does so in the environment of the service's image."""
    found = imported_without(TRAINING, SERVE, (*WRITE, RUN))
    assert {"pneumonia.serving.server", "pneumonia.inference.engine", "pneumonia.monitoring.judge"} <= set(found)
    for name in WRITE:
        assert (ROOT / f"{name.replace('.', '/')}.py").is_file(), f"{name} is gone: take it off the list"


def test_rooms_say_nothing_at_their_doors() -> None:
    for path in FILES:
        if path.name == "__init__.py" and path.parent != ROOT / "pneumonia":
            assert not path.read_text().strip(), path


def test_nothing_loads_pickle() -> None:
    for path in FILES:
        tree = ast.parse(path.read_text())
        imported = {
            name.partition(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        }
        assert not {"pickle", "joblib", "cloudpickle", "dill"} & imported, path
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert "weights_only=True" in ast.unparse(node), f"{path}: torch.load without weights_only"
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.load", "numpy.load"):
                assert "allow_pickle=True" not in ast.unparse(node)


def test_the_drawing_shows_the_rooms_of_the_contract_and_the_steps() -> None:
    rooms = loaded(ROOT / "docs/rooms.py")
    assert rooms.DRAWING.read_text(encoding="utf-8") == rooms.drawing(), "python docs/rooms.py"
    written = {path.stem for path in (ROOT / "tasks").glob("[a-z]*.py")}
    assert set(rooms.STEPS) <= written
    assert set(rooms.STEPS) <= set((ROOT / "flows/pipeline.py").read_text(encoding="utf-8").replace('"', " ").split())
