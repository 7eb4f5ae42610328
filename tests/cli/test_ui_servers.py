"""The servers behind the pages: both really started, and none left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import requests

from pneumonia.cli import server_notes, ui_servers
from pneumonia.cli.ui_servers import Server
from pneumonia.errors import PneumoniaError, TrackingError
from pneumonia.tracking.run import Run
from tests.support.mlflow_server import free_port
from tests.support.runs import settings


def python(code: str, port: int = 0) -> Server:
    return Server("Test", port or free_port(), "--port", (sys.executable, "-c", code), "/")


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def gone(processes: list[psutil.Process]) -> bool:
    """Whether all end within a while; one that was not waited for has ended too."""
    psutil.wait_procs(processes, timeout=30)
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


def check_pages(ports: tuple[int, int], run: str) -> None:
    address, query = f"http://127.0.0.1:{ports[0]}/api/2.0/mlflow/runs/search", {"experiment_ids": ["1"]}
    found = requests.post(address, json=query, timeout=30).json()
    assert [entry["info"]["run_id"] for entry in found["runs"]] == [run]
    page = requests.get(f"http://127.0.0.1:{ports[1]}/ui-settings", timeout=30).json()
    assert page["api_url"] == "/api", "the page asks its own server, whatever the port"


@contextlib.contextmanager
def shown(work: Path, home: Path, ports: tuple[int, int]) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """`pneumonia ui` as a user starts it, once it has said where the pages are; and what it said."""
    command = [sys.executable, "-m", "pneumonia", "ui", "--mlflow-port", str(ports[0]), "--prefect-port", str(ports[1])]
    environment = {**os.environ, "PNEUMONIA_WORK": str(work), "PREFECT_HOME": str(home)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=work) as process:
        try:
            assert process.stdout is not None
            yield process, [process.stdout.readline() for _ in range(3)]
        finally:
            process.terminate()


@pytest.mark.integration
def test_both_pages_show_the_runs_made_here_and_end_on_sigterm(work: Path, tmp_path: Path) -> None:
    run = Run.open(settings(work), "key", "the run", {})
    run.finish()
    ports = free_port(), free_port()
    with shown(work, tmp_path / "prefect", ports) as (process, lines):
        assert lines == [
            f"MLflow   http://127.0.0.1:{ports[0]}/#/experiments/1/runs?workflowType=machine_learning\n",
            f"Prefect  http://127.0.0.1:{ports[1]}\n",
            "Ctrl-C ends MLflow and Prefect\n",
        ]
        check_pages(ports, run.id)
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) >= 4, "two keepers and two servers"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert gone(started)
    assert not listening(ports[0])
    assert not listening(ports[1])


@pytest.mark.integration
def test_a_port_of_an_own_server_is_said_to_be_and_kill_9_leaves_no_server(work: Path, tmp_path: Path) -> None:
    ports = free_port(), free_port()
    with shown(work, tmp_path / "prefect", ports) as (process, lines):
        assert lines[2] == "Ctrl-C ends MLflow and Prefect\n"
        said = f"pneumonia ui is already running there, pid {process.pid}; stop it with kill {process.pid}"
        with pytest.raises(PneumoniaError, match=f"MLflow: port {ports[0]} is taken: {said}, or .* --mlflow-port"):
            ui_servers.show(settings(work), ports[0], free_port(), print)
        with pytest.raises(PneumoniaError, match=f"Prefect: port {ports[1]} is taken: {said}, or .* --prefect-port"):
            ui_servers.show(settings(work), free_port(), ports[1], print)
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) >= 4
        process.kill()
        assert process.wait(10) == -signal.SIGKILL
        assert gone(started)
    assert not listening(ports[0])
    assert not listening(ports[1])
    assert server_notes.holder(work / "ui", ports[0]) is None, "the note of a process that is gone counts for nothing"
    assert list((work / "ui").glob("*.json")) == []


def test_nothing_is_started_where_both_run_elsewhere(
    mlflow_server: str, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ui_servers, "_answering", lambda api: "http://prefect.example:4200")
    config = settings(work, mlflow_server)
    told: list[str] = []
    ui_servers.show(config, free_port(), free_port(), told.append)
    assert told[0].startswith(f"MLflow   {mlflow_server}/#/experiments")
    assert told[1:] == ["Prefect  http://prefect.example:4200"]


def test_a_store_that_cannot_be_used_is_told_first(work: Path) -> None:
    with pytest.raises(TrackingError, match="cannot be reached"):
        ui_servers.show(settings(work, "http://127.0.0.1:1"), free_port(), free_port(), print)


def test_a_port_is_free_or_has_a_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        problem = ui_servers.port_problem(listener.getsockname()[1])
    assert problem is not None
    assert f"is taken by process {os.getpid()}" in problem
    assert ui_servers.port_problem(free_port()) is None


def test_a_server_elsewhere_counts_only_if_it_answers() -> None:
    assert ui_servers._answering(None) is None
    assert ui_servers._answering("http://127.0.0.1:1/api") is None


@pytest.mark.integration
def test_a_server_that_ends_by_itself_is_told_with_its_last_words(tmp_path: Path) -> None:
    code = "import sys; print('first'); sys.exit('the database is too old')"
    with (
        ui_servers._running([python(code)], tmp_path / "logs") as running,
        pytest.raises(PneumoniaError, match=r"ended with 1; see .*test\.log:\n  first\n  the database is too old"),
    ):
        ui_servers._wait(running, threading.Event())


@pytest.mark.integration
def test_what_a_server_has_started_ends_with_it(tmp_path: Path) -> None:
    """Also where it does not listen to SIGTERM and its child outlives it."""
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('ready', 'w'); time.sleep(600)"
    code = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(600)"
    with ui_servers._running([python(code)], tmp_path) as running:
        wait_for((tmp_path / "ready").exists)
        family = [psutil.Process(running[0].process.pid)]
        family += family[0].children(recursive=True)
    assert len(family) == 3, "the keeper, the server and what the server has started"
    assert gone(family)


@pytest.mark.integration
def test_what_does_not_listen_to_sigterm_ends_with_a_killed_asker(tmp_path: Path) -> None:
    """The keeper ends the whole group, although neither the server nor its child wants to."""
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open({!r}, 'w'); time.sleep(600)"
    child = stubborn.format("child")
    server = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}]); {stubborn.format('server')}"
    asker = (
        "import pathlib, sys, time; from pneumonia.cli import ui_servers\n"
        "server = ui_servers.Server('Test', 0, '--port', (sys.executable, '-c', sys.argv[1]), '/')\n"
        "with ui_servers._running([server], pathlib.Path.cwd()): time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", asker, server], cwd=tmp_path) as process:
        try:
            wait_for(lambda: (tmp_path / "child").exists() and (tmp_path / "server").exists())
            family = psutil.Process(process.pid).children(recursive=True)
        finally:
            process.kill()
    assert len(family) == 3
    assert gone(family)


def test_notes_count_while_their_process_lives(tmp_path: Path) -> None:
    with server_notes.announced(tmp_path, [7, 8]):
        assert [server_notes.holder(tmp_path, port) for port in (7, 8, 9)] == [os.getpid(), os.getpid(), None]
        note = next(tmp_path.iterdir())
        note.write_text(json.dumps({**json.loads(note.read_text()), "started": 1.0}))
        assert server_notes.holder(tmp_path, 7) is None, "another process was given the number"
        assert not note.exists()
    assert server_notes.holder(tmp_path, 7) is None


@pytest.mark.integration
def test_an_early_end_is_no_error(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with ui_servers._running([python("import time; time.sleep(600)")], tmp_path) as running:
        assert not ui_servers._wait(running, stop)


@pytest.mark.integration
def test_no_answer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui_servers, "START_SECONDS", 0.1)
    with (
        ui_servers._running([python("import time; time.sleep(600)")], tmp_path) as running,
        pytest.raises(PneumoniaError, match=r"no answer after 0 s; see .*test\.log"),
    ):
        ui_servers._wait(running, threading.Event())


def test_logs_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(PneumoniaError, match=r"cannot be written .*--set work=DIR"),
        ui_servers._running([python("")], tmp_path / "file"),
    ):
        pass


def test_signal_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with ui_servers._stop_requested() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(5)
    assert signal.getsignal(signal.SIGTERM) is before
