"""Report the progress of a computation; the caller turns it into a bar, an artifact or a log line."""

from __future__ import annotations

from typing import Protocol

REUSING, ANEW, TOOK = "reusing", "training anew", "took"
"""How a line begins that stays to be read: whether finished work was found, and where a step's time went."""


def stays(message: str) -> bool:
    """Return whether a line is not only the state of a computation, and must not be replaced by the next one."""
    return message.startswith((REUSING, ANEW, TOOK))


class Progress(Protocol):
    """A callback that takes the amount done, the total amount (0 where it is unknown), and a line of text."""

    def __call__(self, done: float, total: float, message: str = "") -> None: ...


def silent(done: float, total: float, message: str = "") -> None:
    """Report nothing."""


def within(progress: Progress, start: float, end: float, message: str) -> Progress:
    """Return a callback that maps 0 to 100 % of a part onto the share `start` to `end` of the whole, both 0 to 1."""

    def report(done: float, total: float, message: str = message) -> None:
        progress(start + (end - start) * (done / total if total else 0.0), 1.0, message)

    return report
