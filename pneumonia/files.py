"""Write files and folders atomically, and lock folders."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from pneumonia.errors import DataError, FolderInUse, PneumoniaError

NAME_BYTES = 255
"""The longest name of a file or folder that Linux and macOS have, bytes."""
PATH_BYTES = 3800
"""The longest path that is taken, bytes: Linux has 4,095, and files below need some."""


def write_text(path: Path, text: str) -> Path:
    """Write a UTF-8 file atomically; see `write_bytes`."""
    return write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file atomically; its folder is created where it is missing.

    Raises:
        DataError: the folder cannot be written, or the disk is full.
    """
    with AtomicFile(path) as file:
        file.write(content)
    return path


@contextlib.contextmanager
def locked_folder(folder: Path, doing: str = "runs this training", remedy: str = "set work=DIR") -> Iterator[None]:
    """Lock `folder` for this process; the kernel releases the lock when the process ends.

    Args:
        folder: made where it is missing.
        doing: what the holder of the lock does, for the message.
        remedy: what helps where the folder cannot be written, besides making it writable.

    Raises:
        FolderInUse: another process holds the lock.
        PneumoniaError: the folder cannot be written.
    """
    lock = FileLock(folder / "lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise FolderInUse(f"{folder}: another process {doing}; wait for it, or end it first") from None
    except OSError as error:
        raise PneumoniaError(f"{folder}: cannot be written ({error.strerror}); make it writable, or {remedy}") from None
    try:
        yield
    finally:
        lock.release()


class AtomicFile:
    """A binary file that is written under a temporary name in the same folder and renamed when complete.

    An exception inside the ``with`` block leaves no file. The temporary file of a killed process is removed by the next
    writer in the folder: a temporary file is locked while its writer lives.

    Raises:
        DataError: no permission to write there, or no space. Other exceptions of the block pass unchanged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.part")
        self._file = -1

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _sweep(self.path.parent)
            self._file = self._create()
        except OSError as error:
            raise self._failed(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                os.fsync(self._file)
                self._temporary.replace(self.path)
        except OSError as failure:
            raise self._failed(failure) from failure
        finally:
            os.close(self._file)
            self._temporary.unlink(missing_ok=True)

    def write(self, content: bytes, at: int | None = None) -> None:
        """Append the content, or overwrite the bytes at a position."""
        rest = memoryview(content)
        try:
            while rest:
                done = os.write(self._file, rest) if at is None else os.pwrite(self._file, rest, at)
                rest, at = rest[done:], at if at is None else at + done
        except OSError as error:
            raise self._failed(error) from error

    def _create(self) -> int:
        while True:
            file = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            fcntl.flock(file, fcntl.LOCK_EX)
            if self._temporary.exists():
                return file
            os.close(file)  # another writer removed it between creation and locking

    def _failed(self, error: OSError) -> DataError:
        return DataError(
            f"{self.path}: cannot be written ({error.strerror}); "
            "free space or grant rights there, or choose another folder with work=DIR"
        )


def _sweep(folder: Path) -> None:
    """Remove the temporary files of writers that have ended; a file that cannot be removed stays."""
    for leftover in folder.glob(".*.part"):
        try:
            file = os.open(leftover, os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            leftover.unlink(missing_ok=True)
        except OSError:
            pass
        finally:
            os.close(file)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a new folder that is renamed to `target` when the block succeeds, and removed otherwise.

    The temporary folder of a killed process is removed by the next one: it is locked while its process lives.

    Args:
        target: the final name; a folder of that name that was created in the meantime stays.

    Raises:
        DataError: it cannot be written. Other exceptions of the block pass unchanged.
    """
    lock, temporary = -1, target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep_folders(target)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        lock = os.open(temporary, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        temporary.chmod(0o755)
        yield temporary
        _rename_unless_present(temporary, target)
    except OSError as error:
        remedy = "free space there" if error.errno == errno.ENOSPC else "name a folder that can be written"
        raise DataError(f"{target}: cannot be written ({error.strerror or error}); {remedy}") from error
    finally:
        if temporary != target:
            shutil.rmtree(temporary, ignore_errors=True)
        if lock >= 0:
            os.close(lock)


def _rename_unless_present(temporary: Path, target: Path) -> None:
    try:
        temporary.rename(target)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise


def _sweep_folders(target: Path) -> None:
    for leftover in target.parent.glob(f".{target.name}-*"):
        try:
            lock = os.open(leftover, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue  # removed meanwhile, or owned by another user
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(leftover, ignore_errors=True)
        except BlockingIOError:
            pass  # its process is still writing
        finally:
            os.close(lock)


def printable(text: str | Path) -> str:
    """Return a file's name as text that every document, table and terminal can hold in one line.

    Bytes that are no text in the file system's encoding, control characters and line separators are escaped as
    ``\\xf6`` or ``\\u2028``; everything else stays.
    """
    return "".join(_escaped(letter) for letter in str(text))


def _escaped(letter: str) -> str:
    if unicodedata.category(letter) not in {"Cc", "Cs", "Zl", "Zp"}:
        return letter
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that Python could not decode (PEP 383)
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def expand_home(path: str) -> str:
    """Return a path with ``~`` and ``~user`` at its start replaced by the home folder, as a shell does.

    Raises:
        ValueError: there is no such user, or no home folder is known; a sentence with the remedy.
    """
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        raise ValueError(f"no home folder is known for {path.partition('/')[0]}; write the path in full") from None


def check_path(path: str) -> None:
    """Check that a file of this name can exist, whatever the disk holds.

    Raises:
        ValueError: it cannot; a sentence with the remedy.
    """
    if not path:
        raise ValueError("the path is empty; name a file or folder")
    if "\0" in path:
        raise ValueError("a path holds no zero byte; write another")
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        raise ValueError("the path has bytes that are no UTF-8; rename the folder, or name a link to it") from None
    if max(map(len, encoded.split(b"/"))) > NAME_BYTES:
        raise ValueError(
            f"a part of the path is longer than the {NAME_BYTES} bytes that a name may have; write another"
        )
    if len(encoded) > PATH_BYTES:
        raise ValueError(f"the path is longer than {PATH_BYTES} bytes; choose a folder that is less deep")


def is_folder(path: str | Path) -> bool:
    """Return whether there is a folder; False for a name that is too long, or lies where nothing may be read."""
    return os.path.isdir(path)  # noqa: PTH112 — Path.is_dir raises for such a name


def is_regular_file(path: str | Path) -> bool:
    """Return whether there is a file; False as for `is_folder`."""
    return os.path.isfile(path)  # noqa: PTH113 — Path.is_file raises for such a name
