"""Write what torch, and what it brings in its CUDA builds, says that it requires: the metadata of the index's wheels.

python write_requires.py requirements-cuda.lock requirements.lock requirements-cuda.json

A lock that was resolved for another build lacks what this one requires and installs without a word, so a test holds
requirements-cuda.lock against this record. pip reads the metadata alone; the wheels are gigabytes.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PLATFORMS = [*(f"manylinux_2_{minor}_x86_64" for minor in range(28, 16, -1)), "manylinux2014_x86_64"]


def pinned(lock: Path) -> set[str]:
    """Return the `name==version` of every package in a lock."""
    return set(re.findall(r"^[a-z0-9-]+==[^\s;]+", lock.read_text(), re.MULTILINE))


def reported(requirements: list[str]) -> list[dict[str, Any]]:
    """Return pip's report of an installation that is not made, with wheels from the index alone."""
    environment = {name: text for name, text in os.environ.items() if name != "PIP_FIND_LINKS"}
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--no-deps", "--ignore-installed"]
        report = Path(folder) / "report.json"
        command += ["--python-version", "3.11", "--only-binary", ":all:", *(f"--platform={each}" for each in PLATFORMS)]
        command += ["--target", folder, "--report", str(report), *requirements]
        subprocess.run(command, env={**environment, "PIP_CONFIG_FILE": os.devnull}, check=True)
        found: list[dict[str, Any]] = json.loads(report.read_text())["install"]
        return found


def main(cuda: Path, cpu: Path, out: Path) -> None:
    """Write the record as JSON."""
    record = {
        each["metadata"]["name"].lower(): {
            "version": each["metadata"]["version"],
            "sha256": each["download_info"]["archive_info"]["hashes"]["sha256"],
            "requires_dist": each["metadata"].get("requires_dist", []),
        }
        for each in reported(sorted(pinned(cuda) - pinned(cpu)))
    }
    out.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
