"""A process that promotes several versions at once, a thread each; told to, it kills itself at one of its writes.

python tests/support/promoters.py URI NAME KILLED_AT VERSION…    begins when a line comes on standard input
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mlflow.tracking import MlflowClient

WRITES = ("log_param", "set_registered_model_alias", "set_registered_model_tag")


def kill_at(number: int) -> None:
    """Let this process kill itself before its write of this number."""
    count = itertools.count()

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if next(count) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*arguments, **named)

        return call

    for name in WRITES:
        setattr(MlflowClient, name, counted(getattr(MlflowClient, name)))


def main(uri: str, name: str, killed_at: int, versions: list[str]) -> None:
    from tests.support.registered import promote

    if killed_at >= 0:
        kill_at(killed_at)
    print("ready", flush=True)
    sys.stdin.readline()
    with ThreadPoolExecutor(len(versions)) as pool:
        done = list(pool.map(lambda version: promote(uri, version, name, who=version, why=f"for {version}"), versions))
    assert [outcome.move.why for outcome in done] == [f"for {version}" for version in versions]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
