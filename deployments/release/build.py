"""Build what a release consists of, from a commit: wheel, source archive, bill of materials and their checksums.

build.py --out dist

Both archives are built twice, from two copies of the commit that differ in their place, their permissions and the time
of their files, and have to be equal to the byte: whoever builds the same commit gets the same SHA256SUMS. Needs git,
and the project's environment (hatchling, cyclonedx-bom).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
LOCK = "requirements.lock"
TORCH = "deployments/library/torch.txt"
SUMS = "SHA256SUMS"
SPECIFICATION = "1.6"
"""CycloneDX's."""
MACHINES = (
    {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"},
    {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "aarch64"},
    {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"},
)
"""Those that the lock is for, as a requirement's marker asks for them."""
PYTHONS = ("3.11.0", "3.11.99")
"""The first and the last that the project runs on: the list must not depend on the Python that writes it."""
UMASKS = (0o022, 0o077)
"""Of the two copies: a checkout's permissions are its owner's matter, and no part of the release."""


class Refused(Exception):
    """Nothing is built, for the reason that the message gives."""


def build(root: Path, out: Path) -> list[Path]:
    """Build the release of the commit that is checked out, and return its files; the folder appears complete.

    Raises:
        Refused: files differ from the commit, the folder exists, the two builds differ, or a tool has failed.
    """
    if out.exists():
        raise Refused(f"{out}: exists already; remove it, or name another folder")
    if changed := _run(["git", "status", "--porcelain", "--untracked-files=no"], root).strip():
        raise Refused(f"these files are not as they were committed, so that nothing is built:\n{changed}")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as work:
        first, second = (_archives(root, Path(work), umask) for umask in UMASKS)
        differing = [name for name in sorted({*first, *second}) if first.get(name) != second.get(name)]
        if differing:
            raise Refused(f"two builds of the same commit differ in {', '.join(differing)}; nothing was kept")
        folder = Path(work) / f"{UMASKS[0]:o}" / "dist"
        write_bill(Path(work) / f"{UMASKS[0]:o}" / "source", folder)
        files = sorted(folder.iterdir())
        sums = "".join(f"{_sha256(path)}  {path.name}\n" for path in files)
        (folder / SUMS).write_text(sums, encoding="utf-8")
        folder.rename(out)
    return sorted(out.iterdir())


def _archives(root: Path, work: Path, umask: int) -> dict[str, str]:
    """Build wheel and source archive of a copy of the commit; return the sha256 of each by its name."""
    place = work / f"{umask:o}"
    source, dist = place / "source", place / "dist"
    before = os.umask(umask)
    try:
        source.mkdir(parents=True)
        archive = subprocess.run(["git", "archive", "HEAD"], cwd=root, check=True, capture_output=True).stdout
        # the archive's own times and permissions would make the two copies more alike than two checkouts are
        subprocess.run(["tar", "--extract", "--touch", "--no-same-permissions"], cwd=source, input=archive, check=True)
        epoch = _run(["git", "log", "-1", "--format=%ct"], root).strip()
        command = [sys.executable, "-m", "hatchling", "build", "--directory", str(dist)]
        _run(command, source, {"SOURCE_DATE_EPOCH": epoch})
    finally:
        os.umask(before)
    return {path.name: _sha256(path) for path in dist.iterdir()}


def write_bill(source: Path, folder: Path) -> Path:
    """Write the bill of materials of the lock, CycloneDX, beside the archives: every package with version and hashes.

    Torch is not in the lock, since the package index lacks its CPU build; its pinned version is added, without a hash.

    Raises:
        Refused: CycloneDX's tool has failed.
    """
    project = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lock = "".join(_used((source / name).read_text(encoding="utf-8")) for name in (LOCK, TORCH))
    command = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements", "--sv", SPECIFICATION]
    options = ["--of", "JSON", "--output-reproducible", "--no-validate", "--pyproject", "pyproject.toml", "-"]
    document = json.loads(_run([*command, *options], source, text=lock))
    parts = document["components"]
    for part in parts:
        _name(part)
    root = document["metadata"]["component"]
    root["version"] = project["version"]
    wanted = {_normal(re.split(r"[ <>=!~\[;]", each)[0]) for each in project["dependencies"]}
    direct = sorted(part["bom-ref"] for part in parts if _normal(part["name"]) in wanted)
    document["dependencies"] = [
        {"ref": root["bom-ref"], "dependsOn": direct},
        *({"ref": ref} for ref in sorted(part["bom-ref"] for part in parts)),
    ]
    path = folder / f"{project['name']}-{project['version']}.cdx.json"
    path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return path


def _used(lock: str) -> str:
    """Return a lock without what none of the machines installs: a universal resolution is for later Pythons too."""
    entries = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)[1:]
    kinds = [
        {**machine, "python_version": "3.11", "python_full_version": python}
        for machine in MACHINES
        for python in PYTHONS
    ]
    markers = {entry: Requirement(entry.split(" \\\n")[0].strip()).marker for entry in entries}
    return "".join(entry for entry, marker in markers.items() if marker is None or any(map(marker.evaluate, kinds)))


def _name(part: dict[str, Any]) -> None:
    """Name a component by its package instead of by a line of the lock."""
    part["bom-ref"] = part["purl"]
    part.pop("description", None)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _run(command: list[str], cwd: Path, environment: dict[str, str] | None = None, text: str | None = None) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **(environment or {})}, input=text, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise Refused(f"{' '.join(command[:5])}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def main() -> int:
    """Build into a folder and list what is in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("dist"), metavar="DIR")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    try:
        files = build(chosen.root, chosen.out.resolve())
    except Refused as error:
        print(error, file=sys.stderr)
        return 2
    print((chosen.out / SUMS).read_text(encoding="utf-8"), end="")
    print(f"{len(files)} files in {chosen.out}, both archives built twice with the same bytes", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
