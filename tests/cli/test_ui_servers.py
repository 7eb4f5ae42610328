"""The servers behind the pages: both really started, and none left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import requests

from pneumonia.cli import ui_servers
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


def check_pages(ports: tuple[int, int], run: str) -> None:
    address, query = f"http://127.0.0.1:{ports[0]}/api/2.0/mlflow/runs/search", {"experiment_ids": ["1"]}
    found = requests.post(address, json=query, timeout=30).json()
    assert [entry["info"]["run_id"] for entry in found["runs"]] == [run]
    page = requests.get(f"http://127.0.0.1:{ports[1]}/ui-settings", timeout=30).json()
    assert page["api_url"] == "/api", "the page asks its own server, whatever the port"


@pytest.mark.slow
def test_both_pages_show_the_runs_made_here_and_end_on_sigterm(work: Path, tmp_path: Path) -> None:
    run = Run.open(settings(work), "key", "the run", {})
    run.finish()
    ports = free_port(), free_port()
    command = [sys.executable, "-m", "pneumonia", "ui", "--mlflow-port", str(ports[0]), "--prefect-port", str(ports[1])]
    environment = {**os.environ, "PNEUMONIA_WORK": str(work), "PREFECT_HOME": str(tmp_path / "prefect")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(3)]
            started = psutil.Process(process.pid).children(recursive=True)
            assert lines == [
                f"MLflow   http://127.0.0.1:{ports[0]}/#/experiments/1/runs?workflowType=machine_learning\n",
                f"Prefect  http://127.0.0.1:{ports[1]}\n",
                "Ctrl-C ends MLflow and Prefect\n",
            ]
            check_pages(ports, run.id)
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)
    assert code == 0
    assert len(started) >= 2
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in started)
    assert not listening(ports[0])
    assert not listening(ports[1])


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
        trouble = ui_servers.port_trouble(listener.getsockname()[1])
    assert trouble is not None
    assert f"is taken by process {os.getpid()}" in trouble
    assert ui_servers.port_trouble(free_port()) is None


def test_a_server_elsewhere_counts_only_if_it_answers() -> None:
    assert ui_servers._answering(None) is None
    assert ui_servers._answering("http://127.0.0.1:1/api") is None


def test_a_server_that_ends_by_itself_is_told_with_its_last_words(tmp_path: Path) -> None:
    code = "import sys; print('first'); sys.exit('the database is too old')"
    with (
        ui_servers._running([python(code)], tmp_path / "logs") as running,
        pytest.raises(PneumoniaError, match=r"ended with 1; see .*test\.log:\n  first\n  the database is too old"),
    ):
        ui_servers._wait(running, threading.Event())


def test_what_a_server_has_started_ends_with_it(tmp_path: Path) -> None:
    """Also where it does not listen to SIGTERM and its child outlives it."""
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('ready', 'w'); time.sleep(600)"
    code = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(600)"
    with ui_servers._running([python(code)], tmp_path) as running:
        end = time.monotonic() + 60
        while not (tmp_path / "ready").exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        family = [psutil.Process(running[0].process.pid)]
        family += family[0].children(recursive=True)
    assert len(family) == 2
    psutil.wait_procs(family, timeout=10)
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in family)


def test_an_early_end_is_no_error(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with ui_servers._running([python("import time; time.sleep(600)")], tmp_path) as running:
        assert not ui_servers._wait(running, stop)


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
    with ui_servers._told_to_stop() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(5)
    assert signal.getsignal(signal.SIGTERM) is before
