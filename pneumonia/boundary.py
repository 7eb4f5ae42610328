"""Turn whatever ends a program into one message with the remedy; the traceback of a surprise goes into a file.

Every entry point ends here: the console script, the Prefect flow, and a DAG's step.
"""

from __future__ import annotations

import errno
import importlib.metadata
import os
import tempfile
import time
import traceback
from pathlib import Path

from packaging.requirements import Requirement

from pneumonia.credentials import redacted
from pneumonia.errors import PneumoniaError

UNEXPECTED = 70  # EX_SOFTWARE of sysexits.h: neither a finding (1) nor wrong use (2)

_REPEAT = "then run the same command again, which repeats no finished work"
_SYSTEM = {
    errno.ENOSPC: f"free space there, {_REPEAT}",
    errno.EDQUOT: f"free space, or have the quota raised, {_REPEAT}",
    errno.EFBIG: f"raise the limit on a file's size (ulimit -f), {_REPEAT}",
    errno.EROFS: "choose a place that can be written, such as --set work=DIR",
    errno.EACCES: "make it accessible to this user, or choose another place",
    errno.EPERM: "make it accessible to this user, or choose another place",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "end other programs",
    errno.ENOMEM: "end other programs, or give this one more memory",
}
"""Remedies of what the operating system says, wherever it says it."""

_EXTRAS = ("training", "serving", "flow", "versioning", "dicom", "kaggle", "storage", "cluster")
_PACKAGES = {"sklearn": "scikit-learn", "multipart": "python-multipart"}
"""Packages that are imported under another name."""

_work: Path | None = None


def keep_tracebacks_in(work: str | Path) -> None:
    """Name the work folder, in whose ``logs`` tracebacks are written; until then, and without it, a temporary file."""
    global _work
    _work = Path(work).resolve()


def explain(error: BaseException) -> tuple[str, int]:
    """Return the message and the exit code of an error; write the traceback of one that nobody has described."""
    if isinstance(error, PneumoniaError):
        return f"error: {redacted(str(error))}", error.exit_code
    if isinstance(error, ModuleNotFoundError) and (extra := _extra_with(error.name or "")):
        return (
            f"error: {error.name} is not installed here; install it with what else belongs to it: "
            f"pip install 'pneumonia[{extra}]'"
        ), PneumoniaError.exit_code
    words = " ".join(redacted(str(error)).split()) or "no message"
    if isinstance(error, OSError) and error.errno in _SYSTEM:
        place = f"{error.filename}: " if error.filename else ""
        return f"error: {place}{error.strerror}; {_SYSTEM[error.errno]}. {_written(error)}", PneumoniaError.exit_code
    return (
        f"error: {type(error).__name__}: {words[:500]}. {_written(error)} Correct what it names and run the same "
        "command again, which repeats no finished work; where nothing is yours to correct, report it with that file",
        UNEXPECTED,
    )


def _extra_with(module: str) -> str | None:
    """Return the extra of this project that brings a module; None where it is no extra's."""
    package = _PACKAGES.get(top := module.partition(".")[0], top).replace("_", "-")
    for requirement in map(Requirement, importlib.metadata.requires("pneumonia") or []):
        for extra in _EXTRAS:
            marker = requirement.marker
            if requirement.name == package and marker is not None and marker.evaluate({"extra": extra}):
                return extra
    return None


def _written(error: BaseException) -> str:
    text = redacted("".join(traceback.format_exception(error)))
    for place in (_logs, _temporary):
        try:
            descriptor, path = place()
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
        except OSError:  # the disk may be what the error is about
            continue
        return f"The traceback is in {path}."
    return f"The traceback could not be written to a file:\n{text}"


def _logs() -> tuple[int, str]:
    if _work is None or not _work.is_dir():  # a command that fails at once makes no work folder
        raise FileNotFoundError
    folder = _work / "logs"
    folder.mkdir(exist_ok=True)
    return tempfile.mkstemp(suffix=".log", prefix=time.strftime("%Y%m%dT%H%M%SZ-", time.gmtime()), dir=folder)


def _temporary() -> tuple[int, str]:
    return tempfile.mkstemp(suffix=".log", prefix="pneumonia-")
