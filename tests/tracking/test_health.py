"""Stores that cannot be used, told quickly and in words that help."""

from __future__ import annotations

import socket
import sqlite3
import sys
import time
from pathlib import Path

import pytest
import requests

from pneumonia.errors import ConfigError, TrackingError
from pneumonia.tracking import health
from pneumonia.tracking.client import check_store, run_exists
from pneumonia.tracking.run import Run
from tests.support.answers import Answer
from tests.support.mlflow_server import free_port
from tests.support.runs import settings


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


@pytest.mark.parametrize(
    "uri",
    ["mlruns", "file:///tmp/mlruns", "sqlite://", "sqlite:///:memory:", "localhost:5000", "127.0.0.1:5000",
     "https//host", "ftp://host", "mongodb://host/db"],
)  # fmt: skip
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


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("http://[::1:5000", "in brackets"),
        ("https://[host]:5000", "cannot be used"),
        ("http://127.0.0.1:99999", "1 to 65535"),
        ("http://127.0.0.1:0", "1 to 65535"),
        ("http://127.0.0.1:port", "1 to 65535"),
        ("http://", "no host"),
        ("http:///path", "no host"),
        ("http://a host:5000", "blanks"),
        ("http://127.0.0.1:5000 ", "blanks"),
        ("postgresql://host:port/db", "1 to 65535"),
    ],
)
def test_an_address_that_is_none_is_told(uri: str, told: str) -> None:
    with pytest.raises(TrackingError, match=told) as caught:
        check_store(uri)
    assert "tracking.uri" in str(caught.value)
    assert caught.value.permanent


@pytest.mark.parametrize(
    ("uri", "module", "package"),
    [
        ("postgresql://host/db", "psycopg", "pip install 'psycopg[binary]'"),
        ("postgresql+psycopg2://host/db", "psycopg2", "pip install psycopg2-binary"),
        ("mysql://host/db", "MySQLdb", "pip install mysqlclient"),
        ("mysql+pymysql://host/db", "pymysql", "pip install pymysql"),
        ("mssql+pyodbc://host/db", "pyodbc", "pip install pyodbc"),
    ],
)
def test_a_database_without_its_driver_names_the_package(
    uri: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    with pytest.raises(TrackingError) as caught:
        check_store(uri)
    assert package in str(caught.value)


@pytest.mark.parametrize(
    ("release", "told"), [("1.30.0", "MLflow 1"), ("2.22.1", "MLflow 2"), ("4.0.0rc1", "MLflow 4")]
)
def test_a_server_of_another_major_version_is_told(release: str, told: str) -> None:
    answers = Answer(200, '{"experiments": []}', {"/version": release})
    with answers as server, pytest.raises(TrackingError, match=f"{told}.*, .* is 3.*upgrade the older") as caught:
        check_store(server.url)
    assert caught.value.permanent


@pytest.mark.parametrize("release", ["3.0.0", "3.99.1", "<h1>none</h1>", "{}"])
def test_a_server_of_the_same_major_version_passes(release: str) -> None:
    with Answer(200, '{"experiments": []}', {"/version": release}) as server:
        check_store(server.url)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    (tmp_path / ".mlflow").mkdir()
    return tmp_path


@pytest.mark.parametrize("content", [b"user = me", b"[mlflow]\nuser\n", b"[mlflow]\na = 1\na = 2\n", b"\xff\xfe\x00"])
def test_malformed_credentials_are_told(home: Path, content: bytes) -> None:
    (home / ".mlflow" / "credentials").write_bytes(content)
    with Answer(200, '{"experiments": []}') as server, pytest.raises(ConfigError) as caught:
        check_store(server.url)
    assert f"{home}/.mlflow/credentials: is not" in str(caught.value)
    assert "mlflow_tracking_username = NAME" in str(caught.value)


@pytest.mark.parametrize("content", [b"machine", b"machine a login b\nnonsense c\n"])
def test_a_malformed_netrc_is_told_where_the_login_is_refused(home: Path, content: bytes) -> None:
    (home / ".netrc").write_bytes(content)
    with Answer(401, "who are you?") as server, pytest.raises(TrackingError, match=r"\.netrc.* is malformed"):
        check_store(server.url)


def test_a_netrc_that_is_no_text_is_told(home: Path) -> None:
    (home / ".netrc").write_bytes(b"\xff\xfe\x00")
    with Answer(200, '{"experiments": []}') as server, pytest.raises(ConfigError, match=r"\.netrc: is malformed"):
        check_store(server.url)


def test_certificates_that_are_not_there_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    with pytest.raises(ConfigError, match=r"REQUESTS_CA_BUNDLE=/nowhere/ca.pem: cannot be read"):
        check_store("https://127.0.0.1:1")


def test_what_goes_wrong_while_a_server_is_asked_is_not_taken_for_its_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise MemoryError("too much")

    monkeypatch.setattr(health, "_ask", broken)
    with pytest.raises(MemoryError):
        health.server_problem("http://127.0.0.1:1")


def test_a_dead_proxy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(TrackingError, match=r"proxy of HTTP_PROXY .*NO_PROXY"):
        check_store("http://tracking.example")


@pytest.mark.parametrize("name", ["MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"])
def test_a_variable_of_mlflows_that_is_malformed_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "soon")
    with (
        Answer(200, '{"experiments": []}') as server,
        pytest.raises(ConfigError, match=f"{name}.*correct the variable"),
    ):
        run_exists(server.url, "0")


def test_a_server_that_does_not_tell_its_version_in_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = health._get

    def slow(url: str, *others: object) -> object:
        if url.endswith("/version"):
            raise requests.Timeout("slow")
        return ask(url, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(health, "_get", slow)
    with Answer(200, '{"experiments": []}') as server:
        check_store(server.url)
