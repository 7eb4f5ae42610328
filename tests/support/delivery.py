"""The tools of `.venv-delivery`, and stand-ins for programs that a script calls."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".venv-delivery/bin"
LOCK = ROOT / "deployments/delivery/requirements.lock"
STAND_IN = """#!/usr/bin/env bash
(printf '%s' "${0##*/}"; printf ' %q' "$@"; echo) >>"$CALLS"
"""


def tool(name: str, package: str = "") -> Path:
    """Return a tool of the environment that checks deployments; without it the test says that it is skipped."""
    path = FOLDER / name
    if not FOLDER.exists():
        pytest.skip(f"{FOLDER.parent.relative_to(ROOT)} is not there; make install-delivery makes it")
    if not path.exists() and f"\n{package or name}==" not in LOCK.read_text(encoding="utf-8"):
        pytest.skip(f"{package or name} is required and not in the lock yet; make lock-stack install-delivery")
    assert path.exists(), f"{path}: is in the lock and not installed; make install-delivery"
    return path


class StandIns:
    """A folder of programs that write down how they were called, first on PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "stand-ins"
        self.folder.mkdir()
        self._calls = folder / "calls"
        self._calls.touch()

    def have(self, name: str, code: str = "") -> None:
        """Put a program on PATH; `code` is what it does besides, in the shell's words."""
        path = self.folder / name
        path.write_text(f"{STAND_IN}{code}\n", encoding="utf-8")
        path.chmod(0o755)

    def environment(self, **variables: str) -> dict[str, str]:
        """Return the variables for a process that finds these programs first."""
        path = f"{self.folder}:{os.environ['PATH']}"
        return {"PATH": path, "HOME": str(self.folder), "CALLS": str(self._calls), **variables}

    def calls(self) -> list[str]:
        """Return what was called, in its order, each with its arguments as the shell quotes them."""
        return self._calls.read_text(encoding="utf-8").splitlines()
