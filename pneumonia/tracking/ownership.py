"""Give every run that is being written one owner: a process that says regularly, in the run's tags, that it is alive.

An owner on this machine that has ended is replaced at once. One on another machine is replaced when it has given no
sign for `EXPIRY_SECONDS`; the machines' clocks may differ by half of that.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from pneumonia.credentials import redacted
from pneumonia.errors import TrackingError
from pneumonia.tracking.client import translated_errors, with_retries

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

OWNER_TAG = "pneumonia.owner"
HEARTBEAT_TAG = "pneumonia.heartbeat"
"""Tags with the owner as JSON, and its last sign of life in seconds since 1970; 0 after it has let the run go."""
ORCHESTRATOR_TAGS = ("prefect.flow_run_id", "airflow.run_id")
HEARTBEAT_SECONDS = 10.0
EXPIRY_SECONDS = 45.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Owner:
    """A process that writes a run.

    Attributes:
        host: the machine, and the space of process numbers in it, which a container has of its own.
        pid, started: the process, and when it was started, in seconds since 1970.
        orchestrator: the orchestrator's own run id; empty for a step that was called without one.
    """

    host: str
    pid: int
    started: float
    orchestrator: str = ""

    @classmethod
    def this_process(cls, tags: Mapping[str, str]) -> Owner:
        """Return this process; `tags` may hold the orchestrator's run id."""
        orchestrator = next((tags[name] for name in ORCHESTRATOR_TAGS if name in tags), "")
        return cls(_host(), os.getpid(), psutil.Process().create_time(), orchestrator)

    def is_same_process(self, other: Owner) -> bool:
        """Return whether both are one process, whichever run of an orchestrator it works for."""
        return (self.host, self.pid) == (other.host, other.pid) and abs(self.started - other.started) < 1

    def is_alive(self, heartbeat: float) -> bool:
        """Return whether this owner, with this last sign of life, may still write."""
        if time.time() - heartbeat > EXPIRY_SECONDS:
            return False
        if self.host != _host():
            return True
        try:
            return abs(psutil.Process(self.pid).create_time() - self.started) < 1
        except psutil.NoSuchProcess:
            return False

    def describe(self) -> str:
        """Return the owner in words."""
        work = f", run {self.orchestrator} of its orchestrator" if self.orchestrator else ""
        return f"process {self.pid} on {self.host.partition(' ')[0]}{work}"


class Ownership:
    """The claim of this process on a run, kept alive by a thread until `release`, or until nothing refers to it."""

    def __init__(self, client: MlflowClient, uri: str, run_id: str) -> None:
        self._client, self._uri, self._run = client, uri, run_id
        self._owner = Owner.this_process({})
        self._stop = threading.Event()
        self._taken = threading.Event()
        self._thread: threading.Thread | None = None
        weakref.finalize(self, self._stop.set)

    def claim(self, tags: Mapping[str, str]) -> None:
        """Become the run's owner.

        Raises:
            TrackingError: another process that is alive is its owner, or the store cannot be used.
        """
        self._owner = Owner.this_process(tags)
        with_retries(self._uri, "claim the run", self._claim)
        # The thread must not keep its owner: one that is dropped without `release` would be alive for ever.
        arguments = (weakref.ref(self), self._stop)
        self._thread = threading.Thread(target=_beat, args=arguments, name=f"heartbeat-{self._run[:8]}", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Check that nobody has taken the run over.

        Raises:
            TrackingError: another process has, since this one gave no sign for too long.
        """
        if self._taken.is_set():
            raise TrackingError(
                f"{redacted(self._uri)}: run {self._run} was taken over by another process, because this one gave no "
                f"sign of life for {EXPIRY_SECONDS:.0f} s; let that one finish, then run the same command again"
            )

    def release(self) -> None:
        """Let the run go, so that any process can claim it; a store that is away only delays that."""
        self._stop.set()
        if self._thread is None:
            return
        self._thread.join(timeout=5)
        if self._thread.is_alive():  # in a request that the store does not answer, after which it ends
            logger.warning(
                "%s: does not answer; others may write to run %s in %.0f s",
                redacted(self._uri),
                self._run,
                EXPIRY_SECONDS,
            )
            return
        self._thread = None
        try:
            with translated_errors(self._uri, "release the run"):
                if self._is_mine():
                    self._client.set_tag(self._run, HEARTBEAT_TAG, "0")
        except TrackingError as error:
            logger.warning("%s; others may write to run %s in %.0f s", error, self._run, EXPIRY_SECONDS)

    def _claim(self) -> None:
        found, heartbeat = self._read()
        if found is not None and not found.is_same_process(self._owner) and found.is_alive(heartbeat):
            raise TrackingError(
                f"{redacted(self._uri)}: run {self._run} is being written by {found.describe()}, which gave its last "
                f"sign of life {max(0.0, time.time() - heartbeat):.0f} s ago; wait for it, or end it first (if that "
                f"machine is gone, run the same command again in {EXPIRY_SECONDS:.0f} s)"
            )
        if found is not None and heartbeat and not found.is_same_process(self._owner):
            logger.warning("run %s is taken over from %s, which is not alive", self._run, found.describe())
        self._write({OWNER_TAG: json.dumps(asdict(self._owner)), HEARTBEAT_TAG: f"{time.time():.1f}"})
        if not self._is_mine():  # of two at once the last one has it
            raise TrackingError(
                f"{redacted(self._uri)}: another process has claimed run {self._run} at the same moment; wait for it"
            )

    def _read(self) -> tuple[Owner | None, float]:
        tags = self._client.get_run(self._run).data.tags
        if OWNER_TAG not in tags:
            return None, 0.0
        return Owner(**json.loads(tags[OWNER_TAG])), float(tags.get(HEARTBEAT_TAG, 0))

    def _is_mine(self) -> bool:
        found, _ = self._read()
        return found is not None and found.is_same_process(self._owner)

    def _write(self, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        self._client.log_batch(self._run, tags=[RunTag(key, value) for key, value in tags.items()])

    def _renew(self) -> bool:
        """Write a sign of life; return False where another process is the owner."""
        try:
            with translated_errors(self._uri, "say that the run's owner is alive"):
                if not self._is_mine():
                    self._taken.set()
                    return False
                if not self._stop.is_set():  # released meanwhile: a sign of life would claim the run again
                    self._write({HEARTBEAT_TAG: f"{time.time():.1f}"})
        except TrackingError as error:
            logger.debug("%s", error)  # an unavailable server is reported where epochs are logged
        return True


def _beat(reference: weakref.ref[Ownership], stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        owner = reference()
        if owner is None or not owner._renew():
            return
        del owner


def _host() -> str:
    try:
        return f"{socket.gethostname()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # no Linux
        return socket.gethostname()
