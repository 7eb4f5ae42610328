"""Check out the code and bring the data that a version was made with, beside the checkout that is worked in."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pneumonia
from pneumonia.credentials import redacted
from pneumonia.data.dvc import RECORD, cache_folder, read_record
from pneumonia.errors import PneumoniaError

PROJECT = Path(pneumonia.__file__).resolve().parents[1]
SECONDS = 3600
"""Longest time for Git and DVC."""
NOT_PASSED_ON = ("MLFLOW_", "PNEUMONIA_", "PREFECT_", "AIRFLOW_", "GIT_")
"""Start of the environment variables that the recorded code does not see: it has settings and a store of its own."""


class CannotReproduce(PneumoniaError):
    """A version whose code or data cannot be brought here; the message says why and what to do."""


@contextmanager
def worktree(commit: str | None, repository: Path = PROJECT) -> Iterator[Path]:
    """Yield a temporary Git worktree of a commit; the checkout stays as it is.

    Args:
        commit: as the run recorded it.
        repository: a checkout of the project.

    Raises:
        CannotReproduce: the commit is not known, was changed before it was used, or is not in this clone; there is no
            Git, or no repository.
    """
    wanted = _commit(commit, repository)
    with tempfile.TemporaryDirectory(prefix="pneumonia-reproduce-") as place:
        target = Path(place) / "code"
        _git(repository, "worktree", "add", "--quiet", "--detach", str(target), wanted)
        try:
            yield target
        finally:
            _git(repository, "worktree", "remove", "--force", str(target))


def _commit(commit: str | None, repository: Path) -> str:
    if commit is None:
        raise CannotReproduce(
            "the run does not say with which commit it was trained; train from a Git checkout, or set GIT_COMMIT"
        )
    if commit.endswith("-dirty"):
        raise CannotReproduce(
            f"the code was changed after commit {commit[:12]} when the version was trained, and no commit holds the "
            "changes; train from a clean checkout"
        )
    if shutil.which("git") is None:
        raise CannotReproduce("git is not installed here, so that the recorded commit cannot be checked out")
    if _try_git(repository, "rev-parse", "--git-dir") is None:
        raise CannotReproduce(
            f"{repository}: is no Git repository; run the command in a clone of the project, or name one with "
            "--repository DIR"
        )
    if _try_git(repository, "cat-file", "-e", f"{commit}^{{commit}}") is None:
        shallow = (_try_git(repository, "rev-parse", "--is-shallow-repository") or "").strip() == "true"
        remedy = "this clone is shallow: git fetch --unshallow" if shallow else "fetch it, with git fetch --all"
        raise CannotReproduce(f"{repository}: has no commit {commit[:12]}; {remedy}")
    return commit


def bring_data(code: Path, md5: str | None, root: str, repository: Path = PROJECT) -> Path:
    """Bring the recorded data version into a worktree, through DVC: from this machine's cache, or a remote.

    Args:
        code: the worktree.
        md5: that the version recorded.
        root: ``data.root`` of the version's configuration.
        repository: whose cache and remotes are used.

    Returns:
        The folder in the worktree that `root` was.

    Raises:
        CannotReproduce: no data version was recorded, the commit records another, or DVC has failed.
    """
    if md5 is None:
        raise CannotReproduce(
            "the version records no data version of DVC: its files were not those of data.dvc when it was trained; "
            "name them with --data DIR"
        )
    record = read_record(code / RECORD)
    if record is None or record.md5 != md5:
        raise CannotReproduce(
            f"{RECORD} of the commit records {record.md5 if record else 'no folder'}, and the version was trained on "
            f"{md5}; name the folder of its images with --data DIR"
        )
    if importlib.util.find_spec("dvc") is None:
        raise CannotReproduce(
            "DVC is not installed, so that the data cannot be brought: pip install 'pneumonia[versioning]'"
        )
    local = repository / ".dvc" / "config.local"
    if local.is_file():
        shutil.copyfile(local, code / ".dvc" / "config.local")
    _dvc(code, "config", "--local", "cache.dir", str(cache_folder(repository).resolve()))
    _dvc(code, "config", "--local", "core.no_scm", "true")
    try:
        _dvc(code, "checkout", "--quiet", str(RECORD))
    except CannotReproduce:  # the cache of this machine lacks some of the files
        _dvc(code, "pull", "--quiet", str(RECORD))
    inside = code / root if not Path(root).is_absolute() else record.folder / Path(root).name
    return inside if inside.is_dir() else record.folder


def run_script(code: Path, script: str, arguments: Sequence[str], log: Path) -> None:
    """Run a script with the code of a worktree and the environment of this interpreter.

    Args:
        code: the worktree.
        script: Python source.
        arguments: of the script.
        log: file for what it prints; its end is in the error's message.

    Raises:
        CannotReproduce: the recorded code does not run, in this environment.
    """
    path = os.pathsep.join(filter(None, [str(code), os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-c", script, *arguments]
    with log.open("wb") as file:
        environment = _environment() | {"PYTHONPATH": path}
        done = subprocess.run(command, cwd=code, env=environment, stdout=file, stderr=file, check=False)
    if done.returncode:
        words = " ".join(log.read_text(encoding="utf-8", errors="replace").split()[-60:])
        raise CannotReproduce(
            f"the recorded code has failed in this environment: {redacted(words)}. Where its libraries have changed "
            "since, install those of its own lock, and run pneumonia reproduce with that environment"
        )


def _git(repository: Path, *arguments: str) -> str:
    return _run(["git", "-C", str(repository), *arguments], repository)


def _try_git(repository: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(repository), *arguments]
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=SECONDS, check=False)
    return done.stdout if done.returncode == 0 else None


def _dvc(code: Path, *arguments: str) -> None:
    _run([sys.executable, "-m", "dvc", *arguments], code)


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(NOT_PASSED_ON)}


def _run(command: Sequence[str], folder: Path) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotReproduce(f"{folder}: {command[0]} cannot be run ({error})") from None
    if done.returncode:
        words = " ".join((done.stderr or done.stdout).split()[-60:])
        name = " ".join(command[2:5] if command[0] == sys.executable else command[3:5])
        raise CannotReproduce(f"{folder}: {name} has failed: {redacted(words)}")
    return done.stdout
