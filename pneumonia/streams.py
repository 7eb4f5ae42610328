"""Standard output and standard error that may be closed, full, or in an encoding without all letters."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

NO_READER = 141  # as shells report SIGPIPE


class _Output(io.FileIO):
    """Standard output that remembers why it could not be written: a library may hide that, or report it late."""

    lost: OSError | None = None

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError as error:
            self.lost = error
            raise


def open_standard_streams() -> None:
    """Open the streams that are closed (``>&-``), or a file would take their numbers; escape what has no letters."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")
    encoding = getattr(sys.stdout, "encoding", None)
    at_once = any(getattr(sys.stdout, name, False) for name in ("line_buffering", "write_through"))  # python -u
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Output(1, "w", closefd=False)),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=at_once,
    )


def lost_output() -> OSError | None:
    """Return why standard output could not be written, None where it could; what is left of it is then dropped.

    A reader that has ended (``| head -1``) is a BrokenPipeError, a full disk (``> FILE``) another error.
    """
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    try:
        sys.stdout.flush()
    except OSError as error:
        lost: OSError | None = error
    else:
        lost = raw.lost if isinstance(raw, _Output) else None
    if lost is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter's end complains once more
    return lost


def explain_lost_output(problem: OSError) -> tuple[str, int]:
    """Return the message, empty where the reader has ended, and the exit code for what `lost_output` found."""
    if isinstance(problem, BrokenPipeError):
        return "", NO_READER
    words = f"standard output cannot be written ({problem.strerror}); free space, or redirect it to another place"
    return f"error: {words}", 1
