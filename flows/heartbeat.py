"""A line on standard error at least every ten seconds, also while a step has nothing new to tell.

Imports nothing heavy: the first line is due while the libraries are loaded.
"""

from __future__ import annotations

import sys
import threading
import time

SECONDS = 8.0  # of silence; an import that holds the interpreter delays the line by a second or two
_active: list[Heartbeat] = []  # the last one beats, for those around it
_last = time.monotonic()  # when a line was printed, whoever did it


class Heartbeat:
    """Prints what is being done, and for how long, between `start` and `stop` or within a block.

    Attributes:
        doing: what is printed next; whoever makes progress changes it.
    """

    def __init__(self, doing: str, visible: bool = False) -> None:
        """Take the words to print; where progress is `visible` anyway, as a bar, nothing is printed."""
        self.doing = doing
        self._visible = visible
        self._began = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def say(self, doing: str) -> None:
        """Do something else from now on."""
        self.doing, self._began = doing, time.monotonic()

    def start(self) -> None:
        """Begin to print, in place of the heartbeat around this one."""
        _active.append(self)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()
        _active.remove(self)

    def __enter__(self) -> Heartbeat:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        global _last
        while not self._stop.wait(SECONDS / 16):
            if _active[-1:] == [self] and not self._visible and time.monotonic() - _last >= SECONDS:
                _last = time.monotonic()
                passed = int(_last - self._began)
                print(f"{self.doing} ({passed // 60}:{passed % 60:02})", file=sys.stderr, flush=True)


def say(doing: str) -> None:
    """Change the words of the heartbeat that is at work here, if there is one."""
    if _active:
        _active[-1].say(doing)
