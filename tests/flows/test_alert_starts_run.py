"""An alert starts one flow run on a real Prefect server, however often it is delivered."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from pneumonia.errors import TrackingError
from pneumonia.serving.orchestrators import Prefect
from tests.support.mlflow_server import free_port

pytestmark = pytest.mark.integration
START_SECONDS = 120


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API of a server with a database of its own and a deployment of the monitor's name."""
    folder, port = tmp_path_factory.mktemp("prefect"), free_port()
    environment = {name: text for name, text in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"PREFECT_HOME": str(folder), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--no-services", "--port", str(port)]
    url = f"http://127.0.0.1:{port}/api"
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=environment) as process,
    ):
        try:
            wait(url, process, folder / "log")
            flow = requests.post(f"{url}/flows/", json={"name": "pneumonia-monitor"}, timeout=30).json()["id"]
            schema = {"type": "object", "properties": {"trigger": {"type": "string", "default": ""}}}
            deployment = {"name": "monitor", "flow_id": flow, "parameter_openapi_schema": schema}
            requests.post(f"{url}/deployments/", json=deployment, timeout=30).raise_for_status()
            yield url
        finally:
            process.terminate()


def wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            if requests.get(f"{url}/health", timeout=2).ok:
                return
        except requests.RequestException:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)


def test_the_same_id_makes_one_run(api: str) -> None:
    prefect = Prefect(api, "pneumonia-monitor/monitor")
    assert prefect.parts() == {"prefect": True}
    assert [prefect.start(run) for run in ("alert-a", "alert-a", "alert-b")] == [True, False, True]
    runs = requests.post(f"{api}/flow_runs/filter", json={}, timeout=30).json()
    assert {(run["name"], run["parameters"]["trigger"]) for run in runs} == {
        (name, name) for name in ("alert-a", "alert-b")
    }
    assert len(runs) == 2
    (pipeline,) = prefect.pipelines()
    assert (pipeline.name, pipeline.runs, pipeline.ended) == ("pneumonia-monitor", {"scheduled": 2}, None)


def test_a_deployment_that_is_not_there_is_a_failure_to_repeat(api: str) -> None:
    with pytest.raises(TrackingError, match="404"):
        Prefect(api, "pneumonia-monitor/none").start("alert-a")
