"""Detect pneumonia on chest radiographs, and run the life cycle of the model that does. Not a medical device."""

from __future__ import annotations

import os
import subprocess
from importlib.metadata import version
from pathlib import Path

__version__ = version("pneumonia")


def git_commit() -> str | None:
    """Return the commit of the running code, with the suffix ``-dirty`` where files are changed; None if unknown.

    GIT_COMMIT is used where it is set: a container image has no ``.git``.
    """
    if commit := os.environ.get("GIT_COMMIT"):
        return commit
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40", "--match=", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
