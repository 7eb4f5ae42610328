"""Record events without making an answer wait: onto the spool at once, into the database by a thread."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from pneumonia.config.service import MonitoringConfig
from pneumonia.errors import MonitoringError
from pneumonia.monitoring.database import Database
from pneumonia.monitoring.events import Event, add_events, delete_old_events
from pneumonia.monitoring.kept_images import delete_old_images
from pneumonia.monitoring.spool import Spool

SPOOL = "spool"
FLUSH_SECONDS, LAST_WAIT = 0.5, 15.0
"""Time between two looks at the spool, and between two tries while the database is away, at most."""
IN_MEMORY = 1000
"""Events that are held in memory while the disk takes none."""
_CLEAN_SECONDS = 3600.0
_STOP_SECONDS = 5.0

logger = logging.getLogger(__name__)


class Counters(Protocol):
    """What the recorder reports to: `pneumonia.serving.metrics`."""

    def recorded(self, events: int) -> None:
        """Count events that are in the database now."""

    def lost(self, reason: str) -> None:
        """Count an event that is lost: ``spool_full`` or ``disk``."""

    def database_up(self, up: bool) -> None:
        """Say whether the database answers."""


class Recorder:
    """Takes events, and brings them into the database.

    Attributes:
        database: that they are stored in.
    """

    def __init__(self, config: MonitoringConfig, folder: Path, database: Database, counters: Counters) -> None:
        self.database = database
        self._config, self._counters = config, counters
        self._folder = folder
        self._spool = Spool(folder / SPOOL, config.spool)
        self._memory: deque[Event] = deque()
        self._stopped, self._wanted = threading.Event(), threading.Event()
        self._random = random.Random()  # noqa: S311 — which images are sampled is no secret
        self._cleaned = 0.0
        self._away = self._disk_failed = False
        self._one = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    @property
    def waiting(self) -> int:
        """Events that are not in the database yet."""
        return self._spool.waiting + len(self._memory)

    def start(self) -> None:
        """Take over what an earlier process has left, and begin to store."""
        self._thread.start()

    def stop(self) -> None:
        """Store what waits, for some seconds; the rest stays on the spool for the next process."""
        self._stopped.set()
        self._wanted.set()
        if self._thread.ident is not None:  # it was started
            self._thread.join(_STOP_SECONDS)
        self.flush()
        self._spool.close()

    def wants(self) -> bool:
        """Decide whether the next image is sampled."""
        return self._config.sample >= 1 or self._random.random() < self._config.sample

    def record(self, event: Event) -> None:
        """Take an event; never fails, and takes some 30 microseconds."""
        try:
            if self._spool.append(event):
                self._disk_failed = False
                return
            self._counters.lost("spool_full")
        except OSError:
            if not self._disk_failed:
                self._disk_failed = True
                logger.exception("events cannot be written to the spool, and are held in memory")
            if len(self._memory) < IN_MEMORY:
                self._memory.append(event)
            else:
                self._counters.lost("disk")

    def _run(self) -> None:
        self._try(self._spool.adopt)
        wait = FLUSH_SECONDS
        stopped = False
        while not stopped:
            self._wanted.wait(wait)
            stopped = self._stopped.is_set()
            stored = self.flush()
            wait = FLUSH_SECONDS if stored else min(2 * wait, LAST_WAIT)
            if stored and time.monotonic() - self._cleaned > _CLEAN_SECONDS:
                self._cleaned = time.monotonic()
                self._try(lambda: delete_old_events(self.database, self._config.retention_days))
                self._try(lambda: delete_old_images(self._folder, self._config.retention_days))

    def flush(self) -> bool:
        """Store what waits; False while the database is away."""
        with self._one:
            return self._flush()

    def _flush(self) -> bool:
        try:
            while self._memory:
                held = [self._memory.popleft() for _ in range(len(self._memory))]
                try:
                    self._counters.recorded(add_events(self.database, held))
                except MonitoringError:
                    self._memory.extendleft(reversed(held))
                    raise
            for path, events in self._spool.batches():
                stored = add_events(self.database, events) if events else 0
                self._spool.done(path)
                self._counters.recorded(stored)
        except (MonitoringError, OSError) as error:
            self._say_away(str(error))
            return False
        if self._away:
            logger.info("the monitoring database answers again")
        self._away = False
        self._counters.database_up(True)
        return True

    def _say_away(self, words: str) -> None:
        self._counters.database_up(False)
        if not self._away:
            self._away = True
            logger.warning("events wait on disk (%s)", words)

    def _try(self, do: Callable[[], object]) -> None:
        try:
            do()
        except (MonitoringError, OSError) as error:
            logger.warning("%s", error)
