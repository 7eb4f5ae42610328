"""The load generator counts what came back, and when it was due."""

from __future__ import annotations

import itertools
import json
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

GENERATOR = Path(__file__).parents[2] / "benchmarks" / "load_generator.py"
ANSWERED = b'{"probability": 0.5}'


@contextmanager
def server(answer: Callable[[int], tuple[int, bytes] | None]) -> Iterator[int]:
    """A server that answers the requests, by their number; None: it closes the connection."""
    numbers = itertools.count()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline():
                while self.rfile.readline().strip():
                    pass
                self.rfile.read(10)
                if (found := answer(next(numbers))) is None:
                    return
                status, body = found
                self.wfile.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing of a client that went away."""

    with Server(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        yield listener.server_address[1]
        listener.shutdown()
        thread.join()


def load(folder: Path, port: int, *options: str) -> dict[str, Any]:
    folder.mkdir()
    (folder / "one").write_bytes(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n0123456789")
    command = [sys.executable, str(GENERATOR), str(folder), str(port), "--seconds", "1", "--warm", "0.2", *options]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.integration
def test_a_closed_loop_has_one_request_a_connection(tmp_path: Path) -> None:
    def answer(_: int) -> tuple[int, bytes]:
        time.sleep(0.05)
        return 200, ANSWERED

    with server(answer) as port:
        found = load(tmp_path / "requests", port, "--connections", "4")
    assert 4 <= found["per_second"] <= 80  # four, each at most every 50 ms
    assert found["statuses"].keys() == {"200"}
    assert found["ms_200"]["p50"] >= 50
    assert found["wrong"] == 0


@pytest.mark.integration
def test_an_open_loop_counts_the_time_from_when_a_request_was_due(tmp_path: Path) -> None:
    """With one connection and answers slower than the requests come, the later ones wait longer and longer."""

    def answer(_: int) -> tuple[int, bytes]:
        time.sleep(0.1)
        return 200, ANSWERED

    with server(answer) as port:
        found = load(tmp_path / "requests", port, "--connections", "1", "--rate", "20")
    assert found["unanswered"] == 0
    assert found["ms_200"]["max"] > 400  # 20 a second are due, 10 are answered


@pytest.mark.integration
def test_refusals_and_lost_connections_are_no_answers(tmp_path: Path) -> None:
    def answer(number: int) -> tuple[int, bytes] | None:
        time.sleep(0.01)
        return None if number % 3 == 0 else (503 if number % 3 == 1 else 200, b"{}")

    with server(answer) as port:
        found = load(tmp_path / "requests", port, "--connections", "2")
    assert found["statuses"].keys() == {"0", "200", "503"}
    assert found["wrong"] == found["statuses"]["200"]  # no probability in them
