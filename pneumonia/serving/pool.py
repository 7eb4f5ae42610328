"""Compute images on a fixed number of threads, with a bounded number waiting."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from pneumonia.serving.problems import Problem, unavailable

Result = TypeVar("Result")


class Pool:
    """Threads that compute one image each, and a queue.

    A place is taken when an image is admitted, and given back when its thread is done with it or when it is withdrawn
    before a thread began, whoever waits for it: a request that gives up neither holds a place nor gives one back twice.

    Attributes:
        capacity: images that may be admitted at a time.
    """

    def __init__(self, threads: int, queue: int) -> None:
        self.threads = threads
        self.capacity = threads + queue
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="image")
        self._lock = threading.Lock()
        self._admitted = 0

    @property
    def admitted(self) -> int:
        """Images that are waiting or being computed."""
        return self._admitted

    @property
    def waiting(self) -> int:
        """Images that wait for a thread."""
        return max(0, self._admitted - self.threads)

    @property
    def full(self) -> bool:
        """Whether not even one image would be admitted."""
        return self._admitted >= self.capacity

    def submit(self, jobs: Sequence[Callable[[], Result]]) -> list[asyncio.Future[Result]]:
        """Admit all images of a request, or none.

        Where nothing is admitted, a request of more images than `capacity` is: it would never be otherwise.

        Raises:
            Problem: 503, there is no place for all of them.
        """
        with self._lock:
            if self._admitted and self._admitted + len(jobs) > self.capacity:
                raise overloaded()
            self._admitted += len(jobs)
        loop = asyncio.get_running_loop()
        return [asyncio.wrap_future(self._start(job), loop=loop) for job in jobs]

    def _start(self, job: Callable[[], Result]) -> Future[Result]:
        try:
            future = self._executor.submit(job)
        except RuntimeError:  # the pool is closed
            self._release(None)
            raise unavailable("stopping", "the service is being stopped; ask another, or later") from None
        future.add_done_callback(self._release)
        return future

    def _release(self, _: object) -> None:
        with self._lock:
            self._admitted -= 1

    def close(self) -> None:
        """Wait for the images in work and withdraw those that wait."""
        self._executor.shutdown(wait=True, cancel_futures=True)


def overloaded() -> Problem:
    """Return the problem of a full queue."""
    return unavailable("overloaded", "as many images are waiting as may; try again after the time in Retry-After")
