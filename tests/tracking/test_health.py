"""Stores that cannot be used, told quickly and in words that help."""

from __future__ import annotations

import socket
import sqlite3
import time
from pathlib import Path

import pytest

from pneumonia.errors import TrackingError
from pneumonia.tracking import health
from pneumonia.tracking.client import check_store
from pneumonia.tracking.run import Run
from tests.support.mlflow_server import free_port
from tests.support.runs import settings


class Answer:
    """A server that is no MLflow server: it says the same to everyone."""

    def __init__(self, status: int, body: str) -> None:
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
        from threading import Thread

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status if "Authorization" not in self.headers else 200)
                content = (body if "Authorization" not in self.headers else '{"experiments": []}').encode()
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (404, "<h1>Not found</h1>", "not an MLflow server"),
        (200, "<h1>Welcome</h1>", "not an MLflow server"),
        (200, '{"hits": 3}', "not an MLflow server"),
        (401, "who are you?", "MLFLOW_TRACKING_USERNAME"),
        (403, "Invalid Host header - possible DNS rebinding attack", "--allowed-hosts"),
        (403, "Permission denied", "forbids"),
        (502, "Bad gateway", "HTTP 502"),
    ],
)
def test_a_server_of_another_kind_is_told(status: int, body: str, told: str) -> None:
    with Answer(status, body) as server, pytest.raises(TrackingError, match=told) as caught:
        check_store(server.url)
    assert server.url in str(caught.value)
    assert "tracking.uri" in str(caught.value)


def test_the_login_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    with Answer(401, "who are you?") as server:
        check_store(server.url)


def test_the_login_is_read_from_mlflows_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "credentials").write_text(
        "[mlflow]\nmlflow_tracking_username = me\nmlflow_tracking_password = 100%\n"
    )
    with Answer(401, "who are you?") as server:
        check_store(server.url)


def test_a_working_server_passes(mlflow_server: str) -> None:
    check_store(mlflow_server)


def test_an_unreachable_server_is_told_quickly(work: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    start = time.monotonic()
    with pytest.raises(TrackingError, match="Connection refused") as caught:
        Run.open(settings(work, url), "key", "name", {})
    assert time.monotonic() - start < 6
    assert url in str(caught.value)
    assert "MLFLOW_TRACKING_URI" in str(caught.value)


def test_a_server_that_never_answers_is_told_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    assert health.SECONDS <= 5
    monkeypatch.setattr(health, "SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        with pytest.raises(TrackingError, match=r"no answer|timed out"):
            check_store(f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert time.monotonic() - start < 2


def test_passwords_are_not_shown() -> None:
    with pytest.raises(TrackingError) as caught:
        check_store(f"http://me:secret@127.0.0.1:{free_port()}")
    assert "secret" not in str(caught.value)


def test_a_database_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(TrackingError, match=r"cannot be written.*--set work=DIR"):
        check_store(f"sqlite:///{tmp_path}/file/mlflow.db")


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("a text, long enough to be taken for a database")
    with pytest.raises(TrackingError, match="not an SQLite database"):
        check_store(f"sqlite:///{tmp_path}/mlflow.db")


@pytest.mark.parametrize("uri", ["mlruns", "file:///tmp/mlruns", "sqlite://", "sqlite:///:memory:"])
def test_stores_that_mlflow_has_not_are_told(uri: str) -> None:
    with pytest.raises(TrackingError, match="sqlite:////"):
        check_store(uri)


def test_an_old_database_names_the_upgrade(work: Path) -> None:
    connection = sqlite3.connect(work / "mlflow.db")
    connection.execute("update alembic_version set version_num = '27a6a02d2cf1'")
    connection.commit()
    connection.close()
    with pytest.raises(TrackingError, match="mlflow db upgrade"):
        Run.open(settings(work), "key", "name", {})
