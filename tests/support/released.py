"""A checkout from which a release is made, and the steps of the release workflow, run in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import yaml

from tests.support.delivery import ROOT, StandIns
from tests.support.loaded import loaded

VERSION = "9.8.7"
NOTE = "* A line that says nothing, with [a link](docs/page.md).\n"
PARTS = (
    "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "docker-compose.yml", "requirements.lock",
    "docs/deployment.md", "deployments/release", "deployments/library", "pneumonia", "tasks", "flows",
)  # fmt: skip
PYTHON = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
QUICK = f'--libraries "{sysconfig.get_path("purelib")}" --quick'


def run(*command: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command with few variables."""
    return subprocess.run(command, cwd=cwd, env={**PYTHON, **variables}, capture_output=True, text=True, timeout=240)


def script(checkout: Path, name: str, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script of `deployments/release`."""
    return run(sys.executable, f"deployments/release/{name}.py", *arguments, cwd=checkout, **variables)


def git(checkout: Path, *arguments: str) -> None:
    """Call git at a fixed time, without this machine's configuration."""
    own = {"HOME": str(checkout), "GIT_CONFIG_NOSYSTEM": "1", "GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z"}
    identity = ("-c", "user.name=me", "-c", "user.email=me@example.org", "-c", "init.defaultBranch=main")
    done = run("git", *identity, *arguments, cwd=checkout, **own)
    assert done.returncode == 0, done.stderr


def commit(folder: Path) -> None:
    """Make a folder a repository, with all that it holds in one commit."""
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all of it")


def make_checkout(folder: Path) -> Path:
    """Copy what a release is made of, set its version, and commit it."""
    for name in PARTS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    versions = loaded(ROOT / "deployments/release/versions.py")
    for place in (path.relative_to(ROOT) for name, _ in versions.PLACES for path in ROOT.glob(name)):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / place, folder / place)
    changelog = folder / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace(versions.UNRELEASED, f"{versions.UNRELEASED}\n{NOTE}", 1))
    versions.set_version(folder, VERSION, "2026-01-02")
    (folder / ".gitignore").write_text("__pycache__/\n/dist/\n/.venv/\n")
    commit(folder)
    return folder


def build_by_the_workflow(checkout: Path, programs: StandIns) -> str:
    """Run the commands of the release workflow's job `build`, as they stand, and return what they print.

    What is stood in for: make, whose target is a line. The trial of the wheel takes the libraries of this environment.
    """
    programs.have("make", f'[ "$*" = release ] && exec "{sys.executable}" deployments/release/build.py --out dist')
    programs.have("python", f'exec "{sys.executable}" "$@"')
    own = checkout / ".venv/bin/python"
    own.parent.mkdir(parents=True)
    own.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@" {QUICK}\n')
    own.chmod(0o755)
    environment = programs.environment(OMP_NUM_THREADS="1", GITHUB_REF_NAME=f"v{VERSION}")
    environment |= {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "me/it"}
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8"))
    printed = ""
    for step in workflow["jobs"]["build"]["steps"]:
        if "run" in step:
            command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
            done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, done.stdout + done.stderr
            printed += done.stdout + done.stderr
    return printed
