"""`pneumonia doctor` and `ui`; `config` has a file of its own."""

from __future__ import annotations

import json
import socket

import pytest

from pneumonia.cli import doctor
from pneumonia.cli.doctor import Check
from tests.cli.console import call
from tests.support.mlflow_server import free_port

CHECKS = [
    Check(name="python", status="ok", text="3.11.7"),
    Check(name="a long name", status="warn", text="so so", remedy="have a look"),
]
FAILED = Check(name="disk", status="fail", text="full", remedy="free space")


def test_doctor_prints_a_line_a_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "examine", lambda config: CHECKS)
    done = call("doctor")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == "ok    python       3.11.7\nwarn  a long name  so so; have a look\n"


def test_doctor_ends_with_1_on_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "examine", lambda config: [*CHECKS, FAILED])
    done = call("doctor", "--json")
    assert done.exit_code == 1
    assert done.stderr == "to be fixed: disk\n"
    document = json.loads(done.stdout)
    assert document["ok"] is False
    assert document["checks"][-1] == {"name": "disk", "status": "fail", "text": "full", "remedy": "free space"}


def test_doctor_looks_at_what_is_configured() -> None:
    done = call("doctor", "--json", "--set", "data.root=nowhere")
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.exit_code == 1
    assert "nowhere: does not exist" in checks["data"]["text"]


@pytest.mark.parametrize("option", ["--mlflow-port", "--prefect-port"])
def test_ui_says_when_a_port_is_taken(option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        ports = {"--mlflow-port": str(free_port()), "--prefect-port": str(free_port()), option: str(port)}
        done = call("ui", *(word for pair in ports.items() for word in pair))
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"port {port} is taken" in done.stderr
    assert f"choose another with {option}" in done.stderr
