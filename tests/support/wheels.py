"""The project's wheel, and environments of their own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")


def build(folder: Path) -> Path:
    """Build the wheel without a network, as `pip install .` would, from a copy: the build leaves files behind."""
    source = folder / "source"
    source.mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE", "pneumonia", "tasks"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder / "dist")]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return next((folder / "dist").glob("*.whl"))


def install(environment: Path, *arguments: str | Path) -> None:
    """Install packages, and not what they require, into an environment."""
    command = [UV, "--no-config", "pip", "install", "--quiet", "--no-deps", "--python", environment / "bin/python"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
