"""What keeps Prefect from working is reported within seconds, with the remedy."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from flows import prefect_server
from pneumonia.cli import prefect_health
from pneumonia.errors import ConfigError, PneumoniaError
from tests.support.answers import Answer
from tests.support.mlflow_server import free_port

pytestmark = pytest.mark.integration  # Prefect starts processes where it is imported, and the flow is one

ROOT = Path(__file__).parents[2]


def flow(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    clean = {name: text for name, text in os.environ.items() if not name.startswith(("PREFECT_", "PNEUMONIA_"))}
    return subprocess.run(
        [sys.executable, str(ROOT / "flows/pipeline.py"), *arguments],
        cwd=cwd,
        env={**clean, "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        text=True,
        timeout=110,  # less than Prefect's own two minutes
    )


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (404, "nope", "no Prefect server"),
        (200, "<html>hello</html>", "no Prefect server"),
        (200, '{"hits": 3}', "no Prefect server"),
        (200, '"hello"', "no Prefect server"),
        (401, "who are you?", "PREFECT_API_AUTH_STRING"),
        (403, "no", "PREFECT_API_AUTH_STRING"),
        (503, "busy", "fails .HTTP 503"),
        (200, '"2.20.1"', "client: 3.*server: 2.20.1"),
        (200, '"4.0.0"', "client: 3.*server: 4.0.0"),
    ],
)
def test_a_server_of_another_kind_is_told(status: int, body: str, told: str) -> None:
    with Answer(status, body) as server, pytest.raises(PneumoniaError, match=told) as caught:
        prefect_server.check_server(f"{server.url}/api")
    assert f"{server.url}/api" in str(caught.value)
    assert "unset it: the flow then starts a server of its own" in str(caught.value)


@pytest.mark.parametrize(
    "url", ["localhost:4200/api", "http://[::1:4200/api", "http://127.0.0.1:99999/api", "http:///api"]
)
def test_an_address_that_is_none_is_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="PREFECT_API_URL="):
        prefect_server.check_server(url)
    monkeypatch.setenv("PREFECT_API_URL", url)
    with pytest.raises(ConfigError, match="PREFECT_API_URL="):
        prefect_health.check_environment()


def test_a_server_that_is_away_is_told_quickly() -> None:
    start = time.monotonic()
    with pytest.raises(PneumoniaError, match=r"cannot be reached \(Connection refused\)"):
        prefect_server.check_server(f"http://127.0.0.1:{free_port()}/api")
    assert time.monotonic() - start < 10


# ---- the database of the temporary server


def database(folder: Path, revision: str) -> Path:
    path = folder / "prefect.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table alembic_version (version_num text)")
        connection.execute("insert into alembic_version values (?)", [revision])
        connection.commit()
    return path


def test_a_database_of_a_newer_version_is_told(tmp_path: Path) -> None:
    path = database(tmp_path, "ffffffffffff")
    with pytest.raises(
        PneumoniaError, match=r"newer version.*ffffffffffff.*move the file away.*PREFECT_HOME"
    ) as caught:
        prefect_health.check_database(path)
    assert str(path) in str(caught.value)


def test_databases_that_can_be_used_pass_unchanged(tmp_path: Path) -> None:
    prefect_health.check_database(tmp_path / "new" / "prefect.db")
    assert list(tmp_path.rglob("*.db")) == []
    path = database(tmp_path, "14806cb26270")  # one of Prefect's own revisions
    before = path.read_bytes()
    prefect_health.check_database(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "prefect.db").write_text("a text, long enough to be taken for a database\n" * 100)
    with pytest.raises(PneumoniaError, match=r"not a database.*move the file away"):
        prefect_health.check_database(tmp_path / "prefect.db")


def test_a_locked_database_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefect_health, "SECONDS", 0.1)
    path = database(tmp_path, "14806cb26270")
    with closing(sqlite3.connect(path)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(PneumoniaError, match=r"locked.*end the program that holds it"):
            prefect_health.check_database(path)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PneumoniaError, match=r"cannot be written.*export PREFECT_HOME"):
        prefect_health.check_database(tmp_path / "file" / "home" / "prefect.db")


# ---- the flow as it is started


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"PREFECT_API_REQUEST_TIMEOUT": "soon"}, "request_timeout"),
        ({"PREFECT_API_URL": "http://[::1:4200/api"}, "Prefect cannot read its settings"),
        ({"SSL_CERT_FILE": "/nowhere/ca.pem"}, "SSL_CERT_FILE=/nowhere/ca.pem: cannot be read"),
        ({"PREFECT_HOME": "."}, "profiles.toml: Prefect's profiles cannot be read"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_settings_that_prefect_cannot_read_are_one_message(
    variables: dict[str, str], told: str, tmp_path: Path
) -> None:
    (tmp_path / "profiles.toml").write_text("active = [broken\n")
    done = flow(cwd=tmp_path, **variables)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1


def test_the_temporary_server_is_reached_past_a_dead_proxy(tmp_path: Path) -> None:
    """The flow ends at its first step, whose message shows that the server was there."""
    dead = f"http://127.0.0.1:{free_port()}"
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), dead)
    done = flow("--data", "nowhere", cwd=tmp_path, PREFECT_HOME=str(tmp_path / "prefect"), **proxies)
    assert done.returncode == 1
    assert "nowhere: does not exist" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"ALL_PROXY": "socks5://127.0.0.1:9"}, "ALL_PROXY: a SOCKS proxy needs one more package"),
        ({"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "[::1]"}, "HTTP_PROXY or NO_PROXY: .*without brackets"),
        ({"HTTP_PROXY": "nonsense://127.0.0.1:9"}, "HTTP_PROXY or NO_PROXY: .*write http://HOST:PORT"),
    ],
    ids=["socks", "brackets", "scheme"],
)
def test_proxies_that_prefect_cannot_use_are_told(
    variables: dict[str, str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    with pytest.raises(ConfigError, match=told):
        prefect_server.check(tmp_path / "log")


@pytest.mark.nightly
def test_a_temporary_server_that_ends_is_told_at_once(tmp_path: Path) -> None:
    database = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": "nonsense://x"}
    start = time.monotonic()
    done = flow("--data", "nowhere", cwd=tmp_path, PREFECT_HOME=str(tmp_path / "prefect"), **database)
    assert time.monotonic() - start < 90, "Prefect itself waits for two minutes"
    assert done.returncode == 1
    assert "temporary server ended at once" in done.stderr
    assert "Traceback" not in done.stderr
    assert "nonsense" in (tmp_path / ".pneumonia/logs/prefect-server.log").read_text()
