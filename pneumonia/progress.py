"""Report how far a piece of work is; the caller turns it into a bar, an artifact or a log line."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called with the amount that is done, the whole amount (0 where it is unknown), and a line in words."""

    def __call__(self, done: float, total: float, message: str = "") -> None: ...


def silent(done: float, total: float, message: str = "") -> None:
    """Report to nobody."""


def within(progress: Progress, start: float, end: float, message: str) -> Progress:
    """Return a callback whose whole amount is the share from `start` to `end` of another's, both 0 to 1."""

    def report(done: float, total: float, message: str = message) -> None:
        progress(start + (end - start) * (done / total if total else 0.0), 1.0, message)

    return report
