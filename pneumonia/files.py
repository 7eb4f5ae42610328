"""Files that are either whole or not there."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from pneumonia.errors import PneumoniaError


def write_text(path: Path, text: str) -> Path:
    """Write a UTF-8 file; as `write_bytes`."""
    return write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file under a temporary name, then rename it; its folder is made where it is missing.

    Raises:
        PneumoniaError: the folder cannot be written, or the disk is full.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise PneumoniaError(
            f"{path}: cannot be written ({error.strerror}); make room or the folder writable, or set work=DIR"
        ) from None
    finally:
        with contextlib.suppress(OSError):  # what stopped the writing may stop this too, and is what must be told
            partial.unlink(missing_ok=True)
    return path


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process; the lock goes with the process, however it ends.

    Raises:
        PneumoniaError: another process holds it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise PneumoniaError(
            f"{folder}: cannot be written ({error.strerror}); make it writable, or set work=DIR"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PneumoniaError(
                f"{folder}: another process runs this training; wait for it, or end it first"
            ) from None
        yield
