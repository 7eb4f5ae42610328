"""Folders that appear complete or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pneumonia.errors import DataError


@contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """A new folder that takes its name when the block ends well, and is gone otherwise.

    What a killed process left is removed by the next one: a temporary folder is locked while its maker lives.

    Args:
        target: the name to take; where a folder of that name appeared in the meantime, that one stays.

    Raises:
        DataError: it cannot be written. Other exceptions of the block pass unchanged.
    """
    lock, temporary = -1, target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        lock = os.open(temporary, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        temporary.chmod(0o755)
        yield temporary
        _take_name(temporary, target)
    except OSError as error:
        remedy = "free space there" if error.errno == errno.ENOSPC else "name a folder that can be written"
        raise DataError(f"{target}: cannot be written ({error.strerror or error}); {remedy}") from error
    finally:
        if temporary != target:
            shutil.rmtree(temporary, ignore_errors=True)
        if lock >= 0:
            os.close(lock)


def _take_name(temporary: Path, target: Path) -> None:
    try:
        temporary.rename(target)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise


def _sweep(target: Path) -> None:
    for leftover in target.parent.glob(f".{target.name}-*"):
        try:
            lock = os.open(leftover, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue  # gone meanwhile, or somebody else's
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(leftover, ignore_errors=True)
        except BlockingIOError:
            pass  # its maker is at work
        finally:
            os.close(lock)
