"""How a step tells how far it is; the adapters turn it into a bar, an artifact or a log line."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called with a share of the step's work, 0 to 1, and a line in words."""

    def __call__(self, share: float, message: str) -> None: ...


def silent(share: float, message: str) -> None:
    """Tell nobody."""
