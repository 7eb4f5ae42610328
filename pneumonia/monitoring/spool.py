"""Keep events on disk until the database has them: appended before the answer is sent, taken away once stored.

Every process that records has a folder of its own below the spool, which it holds locked. What a process that was
killed has left is taken over by the next one. An event that was stored, while its file was not removed yet, is stored
again without effect (`pneumonia.monitoring.events.add_events`).
"""

from __future__ import annotations

import itertools
import logging
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from filelock import FileLock, Timeout

from pneumonia.monitoring.events import Event

LOCK = "lock"
_SUFFIX = ".jsonl"
logger = logging.getLogger(__name__)


class Spool:
    """The events of one process that are not in the database yet.

    Attributes:
        limit: most events that wait.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.limit = limit
        self._above = folder
        self._folder = folder / uuid.uuid4().hex
        self._file: TextIO | None = None
        self._in_file = 0
        self._numbers = itertools.count(1)
        self._waiting: dict[Path, int] = {}  # events of each closed file
        self._lock = threading.Lock()
        self._held: list[FileLock] = []

    @property
    def waiting(self) -> int:
        """Events that are not in the database yet."""
        return self._in_file + sum(self._waiting.values())

    def append(self, event: Event) -> bool:
        """Append an event; False where the spool is full.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        line = event.line() + "\n"
        with self._lock:
            if self.waiting >= self.limit:
                return False
            if self._file is None:
                self._file = self._open()
            try:
                self._file.write(line)
                self._file.flush()  # to the operating system: a process that is killed loses nothing
            except OSError:
                self._close()  # half a line may be there, which is passed over when it is read
                raise
            self._in_file += 1
            return True

    def _open(self) -> TextIO:
        if not self._held:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._hold(self._folder)
        path = self._folder / f"{next(self._numbers):08d}{_SUFFIX}"
        return path.open("w", encoding="ascii")

    def _hold(self, folder: Path) -> bool:
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        self._held.append(lock)
        return True

    def _close(self) -> None:
        """Close the file that is written; its events wait in it."""
        if self._file is not None:
            path = Path(self._file.name)
            try:
                self._file.close()
            except OSError:  # what the disk could not take was reported when it was written
                logger.debug("%s could not be closed", path.name)
            self._waiting[path] = self._in_file
            self._file, self._in_file = None, 0

    def adopt(self) -> int:
        """Take over what processes that are gone have left; return the number of their files."""
        found = 0
        for folder in sorted(self._above.glob("*/")) if self._above.is_dir() else []:
            if folder == self._folder or any(Path(lock.lock_file).parent == folder for lock in self._held):
                continue
            if self._hold(folder):
                for path in sorted(folder.glob(f"*{_SUFFIX}")):
                    self._waiting[path] = sum(1 for _ in _lines(path))
                    found += 1
        return found

    def batches(self) -> Iterator[tuple[Path, list[Event]]]:
        """Yield the waiting events, file by file, oldest first; `done` takes a file away."""
        with self._lock:
            self._close()
            files = list(self._waiting)
        for path in files:
            yield path, _events(path)

    def done(self, path: Path) -> None:
        """Take a file away, whose events are in the database."""
        path.unlink(missing_ok=True)
        with self._lock:
            self._waiting.pop(path, None)

    def close(self) -> None:
        """Release the folders; those with nothing in them are removed."""
        with self._lock:
            self._close()
            for lock in self._held:
                folder = Path(lock.lock_file).parent
                lock.release()
                if not any(folder.glob(f"*{_SUFFIX}")):
                    (folder / LOCK).unlink(missing_ok=True)
                    try:
                        folder.rmdir()
                    except OSError:
                        logger.debug("%s is not empty", folder.name)
            self._held.clear()


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="ascii", errors="replace") as file:
        yield from file


def _events(path: Path) -> list[Event]:
    """Read a file; a line that was cut off by a crash is no event."""
    found = []
    for line in _lines(path):
        try:
            found.append(Event.of_line(line))
        except (ValueError, KeyError):
            logger.warning("a spooled event cannot be read and is passed over")
    return found
