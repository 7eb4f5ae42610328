"""What is told of a tracking server that does not do its part."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pneumonia.errors import TrackingError
from pneumonia.tracking.client import is_transient, mlflow_client, translated_errors


class Failing(BaseHTTPRequestHandler):
    """Answers every request with HTTP 500, as a server does whose disk is full."""

    def _fail(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_error(500)

    do_GET = do_PUT = do_POST = _fail  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def failing() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Failing) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_server_that_fails_itself_is_told_from_one_that_is_away(failing: str, tmp_path: Path) -> None:
    client = mlflow_client(failing)
    with pytest.raises(TrackingError) as caught, translated_errors(failing, "keep a file"):
        client.get_run("a" * 32)
    assert "could not keep a file: the server itself failed (HTTP 500)" in str(caught.value)
    assert "its disk is full" in str(caught.value)
    assert is_transient(caught.value.__cause__)
