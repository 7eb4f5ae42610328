"""Detect pneumonia on chest radiographs, and run the whole life of the model that does. Not a medical device."""

from __future__ import annotations

import os
import subprocess
from importlib.metadata import version
from pathlib import Path

__version__ = version("pneumonia")


def git_commit() -> str | None:
    """Return the commit of the code that runs, with ``-dirty`` behind it where files are changed.

    Images have no ``.git``: there GIT_COMMIT says it. None where nobody knows.
    """
    if told := os.environ.get("GIT_COMMIT"):
        return told
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40", "--match=", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
