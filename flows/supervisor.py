"""A flow in a process of its own, so that whatever ends it leaves none of its processes behind.

Prefect starts a server beside a flow, in the flow's own process group. Ctrl-C in a terminal reaches that whole group:
the server is gone at once, and the flow waits for it for minutes. SIGTERM reaches the flow alone: the server stays.
Therefore the flow runs in a session of its own, and the process that the user started passes signals on to the flow
and, at the end, ends what is left of that session. Imports nothing heavy: it runs before the libraries are loaded.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

END_SECONDS = 10.0  # for Prefect's server to close its database
INSIST_SECONDS = 1.0  # a second signal after this long ends the flow without its checkpoint
AGAIN = "run the same command again to go on from the last checkpoint"
STOPPED = f"stopped; {AGAIN}"
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def refuse_launcher() -> None:
    """Exit with 2 where a launcher such as torchrun has started this flow several times over."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or "RANK" not in os.environ:
        return
    name = Path(sys.argv[0]).name
    print(
        f"error: a launcher has started {size} processes of {name}, and each would run all of it; run it alone: "
        f"python flows/{name} … (with --set train.shards={size} its trainings start their other processes themselves, "
        "and torchrun is for flows/pipeline.py and tasks.launch: docs/scale.md)",
        file=sys.stderr,
    )
    sys.exit(2)


def supervise() -> None:
    """Fork: the child returns and is the flow; the parent stays here until the child has ended, and exits as it did."""
    # What the parent has been told to ignore (nohup, a shell's background job) stays ignored.
    awaited = {number for number in PASSED_ON if signal.getsignal(number) != signal.SIG_IGN}
    awaited |= {signal.SIGCHLD, signal.SIGTSTP}
    signal.signal(signal.SIGCHLD, lambda *_: None)  # where a signal is ignored by default, nobody can wait for it
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(writing)
        _become_the_flow(reading, awaited)
        return
    os.close(reading)
    try:
        code = _wait(child, awaited)
    finally:
        _end_session(child)
    sys.exit(code)


def _become_the_flow(reading: int, awaited: Iterable[signal.Signals]) -> None:
    os.setsid()
    threading.Thread(target=_end_with_parent, args=(reading,), daemon=True).start()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if signal.SIGINT in awaited:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `ready`: an import that is interrupted prints a traceback
    signal.pthread_sigmask(signal.SIG_UNBLOCK, awaited)


def ready() -> None:
    """From here on Ctrl-C raises KeyboardInterrupt, as it does in any Python program."""
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(*_: object) -> NoReturn:
    """End the worker processes too, which a terminal would have reached: a pool waits for what they are doing."""
    threading.excepthook = lambda _: None  # the thread of a pool complains that its workers are gone
    for worker in multiprocessing.active_children():
        worker.terminate()
    raise KeyboardInterrupt


def _end_with_parent(reading: int) -> None:
    """End the whole session once the parent has gone, for which nothing but SIGKILL can be the reason."""
    os.read(reading, 1)
    os.killpg(0, signal.SIGKILL)


def _wait(child: int, awaited: Iterable[signal.Signals]) -> int:
    """Return the child's exit code, as a shell would report it."""
    asked: signal.Signals | None = None
    since = 0.0
    while True:
        number = signal.Signals(signal.sigwait(awaited))
        if number == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return _report(os.waitstatus_to_exitcode(status), asked)
        elif number == signal.SIGTSTP:  # Ctrl-Z stops the whole program, not its parent alone
            _signal_session(child, signal.SIGSTOP)
            os.kill(os.getpid(), signal.SIGSTOP)
            _signal_session(child, signal.SIGCONT)
        elif asked is None:
            asked, since = number, time.monotonic()
            os.kill(child, number)
        elif time.monotonic() - since > INSIST_SECONDS:  # make passes on to its children what they have had already
            os.kill(child, signal.SIGKILL)


def _report(code: int, asked: signal.Signals | None) -> int:
    """Return the exit code; print the one line that a flow which a signal has ended could not print itself."""
    if code >= 0:
        return code
    if asked is None:
        print(f"error: the flow was ended by {signal.Signals(-code).name}; {AGAIN}", file=sys.stderr)
        return 128 - code
    print(STOPPED, file=sys.stderr)
    return 128 + asked


def _end_session(child: int) -> None:
    """End what is left of the child's process group, politely first."""
    end = time.monotonic() + END_SECONDS
    left = _signal_session(child, signal.SIGTERM)
    while left and time.monotonic() < end:
        time.sleep(0.05)
        left = _signal_session(child, 0)
    _signal_session(child, signal.SIGKILL)


def _signal_session(child: int, number: int) -> bool:
    """Signal the child's process group; False where nobody is left in it."""
    try:
        os.killpg(child, number)
    except (ProcessLookupError, PermissionError):  # macOS says the latter of a group that holds only zombies
        return False
    return True
