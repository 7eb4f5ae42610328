"""Wait for other processes in a store without missing that they are gone, or that this one is to end."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from pneumonia.errors import WorkerLost

POLL_SECONDS = 0.02
torch_distributed: Any = dist
"""The module without its type hints, which leave the stores out."""


class WatchedStore(torch_distributed.Store):  # type: ignore[misc]
    """A store that looks, while it waits for a key, whether the wait still has a purpose.

    torch's own stores wait in C++, where nothing ends them but their time, and no signal is handled.
    """

    def __init__(self, store: Any, watch: Callable[[], None], longest: timedelta) -> None:
        """Remember what is waited for.

        Args:
            store: where the keys are; of any of torch's kinds.
            watch: called while a key is missing; raises an error to end the wait.
            longest: how long is waited for a key, whatever the caller says.
        """
        super().__init__()
        self._store, self._watch, self._longest = store, watch, longest

    def wait(self, keys: list[str], *_: timedelta) -> None:
        """Return once all keys are there.

        Raises:
            WorkerLost: they did not come in time; or what `watch` raises.
        """
        end = time.monotonic() + self._longest.total_seconds()
        while not self._store.check(keys):
            self._watch()
            if time.monotonic() > end:
                raise WorkerLost(f"another worker did not come within {self._longest}; see its log")
            time.sleep(POLL_SECONDS)

    def get(self, key: str) -> bytes:
        """Return the value of a key, once it is there; see `wait`."""
        self.wait([key])
        value: bytes = self._store.get(key)
        return value

    def has_extended_api(self) -> bool:
        """Return that there are these methods alone: torch would wait in C++ with the others."""
        return False

    def set(self, key: str, value: Any) -> None:
        """Set a key."""
        self._store.set(key, value)

    def compare_set(self, key: str, expected: Any, value: Any) -> Any:
        """Set a key that has the expected value; return what it has then."""
        return self._store.compare_set(key, expected, value)

    def add(self, key: str, number: int) -> Any:
        """Add to a number, and return the sum."""
        return self._store.add(key, number)

    def check(self, keys: list[str]) -> Any:
        """Return whether all keys are there."""
        return self._store.check(keys)

    def delete_key(self, key: str) -> Any:
        """Delete a key, and return whether it was there."""
        return self._store.delete_key(key)

    def num_keys(self) -> Any:
        """Return the number of keys."""
        return self._store.num_keys()
