"""Runs a server and ends it, with all that it has started, once the process that asked for it is gone.

python server_keeper.py FD COMMAND…

FD is the reading end of a pipe that nobody writes to: it is closed however the asking process ends, by SIGKILL too.
A process of its own and not a thread, because servers start others; by itself and without the library, because it has
to be there before they are. Needs nothing but POSIX.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

END_SECONDS = 5.0  # for the server to close its database
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def command(pipe: int, server: tuple[str, ...]) -> list[str]:
    """Return the command that keeps `server`; start it in a session of its own, with `pipe` handed on."""
    return [sys.executable, "-I", "-S", str(Path(__file__)), str(pipe), *server]


def main(pipe: int, server: list[str]) -> int:
    """Run `server` in this process's group and return its exit code, as a shell would report it."""
    for number in ENDINGS:  # they reach the whole group; this process stays until the server has ended
        signal.signal(number, lambda *_: None)
    child = subprocess.Popen(server)
    gone = threading.Event()
    threading.Thread(target=_watch, args=(pipe, gone), daemon=True).start()
    code = child.wait()
    if gone.is_set():
        os.killpg(0, signal.SIGKILL)  # what the server itself has started may outlive it
    return code if code >= 0 else 128 - code


def _watch(pipe: int, gone: threading.Event) -> None:
    os.read(pipe, 1)
    gone.set()
    os.killpg(0, signal.SIGTERM)
    time.sleep(END_SECONDS)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
