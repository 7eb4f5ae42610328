"""What is told of a tracking server that does not do its part, and of local files that are not there."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pneumonia.config.schema import Config
from pneumonia.errors import DataError, TrackingError, worth_retrying
from pneumonia.tracking.client import is_transient, mlflow_client, tracking_uri, translated_errors
from pneumonia.tracking.run import Run
from tests.support.mlflow_server import free_port
from tests.support.runs import settings

pytestmark = pytest.mark.integration  # the first import of MLflow asks the system for its name


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


@pytest.mark.parametrize("problem", ["missing", "forbidden"])
def test_a_local_file_that_cannot_be_read_is_told_as_such_and_not_tried_again(
    problem: str, tracked: Config, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.open(tracked, key, "name", {})
    file = tmp_path / "model.safetensors"
    if problem == "forbidden":
        monkeypatch.setattr(run._client, "log_artifact", _forbidden)
    start = time.monotonic()
    with pytest.raises(DataError) as caught:
        run.log_file(file, "weights")
    assert time.monotonic() - start < 5
    assert not worth_retrying(caught.value)
    assert str(caught.value).startswith(f"{file}: ")
    assert "Permission denied" in str(caught.value) or problem == "missing"
    assert run.uri not in str(caught.value)
    run.finish("FAILED")


def _forbidden(_run: str, file: str, _folder: str | None) -> None:
    raise PermissionError(errno.EACCES, "Permission denied", file)


def test_a_run_that_is_not_there_is_not_looked_for_again(tracked: Config) -> None:
    with pytest.raises(TrackingError) as caught:
        Run.attach(tracking_uri(tracked), "0" * 32)
    assert not worth_retrying(caught.value)


def test_a_server_that_is_away_is_worth_another_try(tmp_path: Path) -> None:
    with pytest.raises(TrackingError) as caught:
        Run.open(settings(tmp_path, f"http://127.0.0.1:{free_port()}"), "key", "name", {})
    assert worth_retrying(caught.value)
