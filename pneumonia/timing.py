"""Measure where a step's time goes, and report it in one line.

A step is decorated with `reports_time`. What it consists of names itself, as ``with timed("decoding"):`` or as a
decorator ``@timed("decoding")``, at any depth; outside a step that does nothing.
"""

from __future__ import annotations

import functools
import inspect
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

from pneumonia.progress import TOOK, silent

SHOWN = 0.05
"""Seconds: a shorter part is left out of the line and counts as the rest."""

P = ParamSpec("P")
R = TypeVar("R")
log = logging.getLogger(__name__)


class Times:
    """The seconds that the parts of a step took; a part within a part counts as the outer one."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = time.perf_counter()
        self._inside = False

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time inside the context to this part."""
        if self._inside:
            yield
            return
        began, self._inside = time.perf_counter(), True
        try:
            yield
        finally:
            self._inside = False
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

    def line(self) -> str:
        """Return the seconds in all and of each part, in the order in which the parts began."""
        whole = time.perf_counter() - self._began
        shown = {name: seconds for name, seconds in self.seconds.items() if seconds >= SHOWN}
        rest = whole - sum(shown.values())
        parts = [f"{name} {seconds:.1f}" for name, seconds in shown.items()]
        parts += [f"the rest {rest:.1f}"] if shown and rest >= SHOWN else []
        return f"{TOOK} {whole:.1f} s{': ' if parts else ''}{', '.join(parts)}"


_times: ContextVar[Times | None] = ContextVar("_times", default=None)


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Add the time inside the context to a part of the step that runs in this thread, if one does."""
    times = _times.get()
    if times is None:
        yield
        return
    with times.part(name):
        yield


def reports_time(step: Callable[P, R]) -> Callable[P, R]:
    """Decorate a step: where its time went is logged, and reported to its parameter ``progress``.

    A step that another one calls reports for itself.
    """
    signature = inspect.signature(step)

    @functools.wraps(step)
    def reporting(*given: P.args, **named: P.kwargs) -> R:
        times = Times()
        token = _times.set(times)
        try:
            result = step(*given, **named)
        finally:
            _times.reset(token)
        line = times.line()
        log.info("%s %s", step.__name__, line)
        signature.bind(*given, **named).arguments.get("progress", silent)(1.0, 1.0, line)
        return result

    return reporting
