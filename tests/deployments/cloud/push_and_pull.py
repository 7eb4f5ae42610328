"""Push a folder to a DVC remote, and pull it into a fresh clone; run as a program, with the store's variables.

    python push_and_pull.py FOLDER URL

FOLDER holds `radiographs`. Printed is a JSON list of the clone's files with their md5.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

from dvc.cli import main as dvc


def call(folder: Path, *arguments: str) -> None:
    """Run a command of DVC's, in this process: it takes a second to start."""
    os.chdir(folder)
    if code := dvc([*arguments, "--quiet"]):
        raise SystemExit(f"dvc {' '.join(arguments)}: {code}")


def project(folder: Path, url: str) -> None:
    """Make a DVC project without Git, whose remote is the store."""
    folder.mkdir(exist_ok=True)
    call(folder, "init", "--no-scm")
    call(folder, "config", "core.analytics", "false")
    call(folder, "remote", "add", "--default", "store", url)
    call(folder, "remote", "modify", "store", "verify", "true")


def main(folder: Path, url: str) -> None:
    """Push, and pull elsewhere."""
    project(folder, url)
    call(folder, "add", "radiographs")
    call(folder, "push")
    clone = folder / "clone"
    project(clone, url)
    shutil.copy2(folder / "radiographs.dvc", clone)
    call(clone, "pull")
    files = sorted(path for path in (clone / "radiographs").rglob("*") if path.is_file())
    digests = [
        (path.relative_to(clone).as_posix(), hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest())
        for path in files
    ]
    print(json.dumps(digests))


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), sys.argv[2])
