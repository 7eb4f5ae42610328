"""Record a data version: ``dvc add`` where a ``.dvc`` file records the folder, and a commit of that file."""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pneumonia.credentials import redacted
from pneumonia.data.dvc import RECORD, Comparison, Record, compare, read_record
from pneumonia.data.layout import is_ingested
from pneumonia.data.patients import TABLE
from pneumonia.errors import DataError

log = logging.getLogger(__name__)

_SECONDS = 3600  # dvc add copies what is new into its cache
_LISTED = 5


def find_record(root: Path, project: Path | None = None) -> Record | None:
    """Return the record of a data version: ``data.dvc`` in the project, or the file that lies beside its folder.

    Args:
        root: folder of images; it may lie in the recorded folder.
        project: folder of ``data.dvc``; the working directory by default.

    Raises:
        DataError: a record is not valid.
    """
    place = root.resolve()
    beside = [folder.with_name(f"{folder.name}.dvc") for folder in (place, *place.parents[:1])]
    for file in [(project or Path.cwd()) / RECORD, *beside]:
        record = read_record(file)
        if record is not None and record.folder in (place, *place.parents):
            return record
    return None


def add_version(record: Record, known: Mapping[Path, str] | None = None) -> tuple[Record, str]:
    """Bring a ``.dvc`` file to the files that its folder holds, with ``dvc add``; nothing is done where it is there.

    A folder that differs from its record in other files than ingested ones is left alone: what else has changed is
    for a person to judge.

    Args:
        record: of the folder.
        known: md5 of the content of files that were read already.

    Returns:
        The record as it is now, and why nothing was recorded, empty where it was, or needs not be.

    Raises:
        DataError: DVC has failed.
    """
    found = compare(record, known)
    if found.same:
        return record, ""
    if others := _foreign(found):
        more = f" and {len(others) - _LISTED} more" if len(others) > _LISTED else ""
        return record, (
            f"{record.folder} differs from {record.file.name} in other files ({', '.join(others[:_LISTED])}{more}); "
            f"look at them, then: dvc add {record.folder.name}"
        )
    if importlib.util.find_spec("dvc") is None:
        return (
            record,
            "DVC is not installed, so that the new version is not recorded: pip install 'pneumonia[versioning]'",
        )
    _run([sys.executable, "-m", "dvc", "add", "--quiet", str(record.folder)], record.file.parent, "dvc add")
    renewed = read_record(record.file)
    if renewed is None:
        raise DataError(f"{record.file}: dvc add has left no record; run it again")
    return renewed, ""


def commit_record(record: Record, message: str) -> tuple[str | None, str]:
    """Commit a ``.dvc`` file, and nothing else, where it lies in a Git repository and has changed.

    Returns:
        The commit; None where none was made, and why not, empty where the last commit has the record already.

    Raises:
        DataError: Git has failed.
    """
    folder, name = record.file.resolve().parent, record.file.name
    if not any((place / ".git").exists() for place in (folder, *folder.parents)):
        return None, f"{folder} is in no Git repository, so that nothing was committed"
    if not _run(["git", "status", "--porcelain", "--", name], folder, "git status").strip():
        return None, ""
    _run(["git", "add", "--", name], folder, "git add")
    _run(["git", "commit", "--quiet", "--message", message, "--", name], folder, "git commit")
    return _run(["git", "rev-parse", "HEAD"], folder, "git rev-parse").strip(), ""


def _foreign(found: Comparison) -> list[str]:
    """Return the files by which a folder differs from its record, without ingested ones and the patients' table."""
    paths = sorted({*found.changed, *found.missing, *found.added})
    return [path for path in paths if not is_ingested(path) and Path(path).name != TABLE]


def _run(command: Sequence[str], folder: Path, name: str) -> str:
    log.info("%s in %s", name, folder)
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DataError(f"{folder}: {name} cannot be run ({error}); run it there by hand") from error
    if done.returncode:
        words = " ".join((done.stderr or done.stdout).split()[-60:])
        raise DataError(f"{folder}: {name} has failed: {redacted(words)}; correct that, then run pneumonia data ingest")
    return done.stdout
