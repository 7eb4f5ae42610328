"""Alertmanager's notifications: which alerts start the monitor, once, and what is answered where that fails."""

from __future__ import annotations

import copy
import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from pneumonia.errors import ConfigError
from pneumonia.serving.alert_webhook import MAX_BODY, VARIABLE, Webhook, token_of
from pneumonia.serving.orchestrators import Airflow, Orchestrator, Prefect
from pneumonia.serving.pipeline_metrics import PipelineMetrics
from tests.support.orchestrators import DAG, PASSWORD, USER, AirflowApi, Api, PrefectApi
from tests.support.serving import DIRECT

TOKEN = "a-token-that-nobody-guesses"
FIRING: dict[str, Any] = {
    "receiver": "monitor",
    "status": "firing",
    "version": "4",
    "groupKey": "{}:{alertname='Drift'}",
    "truncatedAlerts": 0,
    "externalURL": "http://alertmanager:9093",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "ModelDrift", "loop": "true", "severity": "warning"},
            "annotations": {"summary": "the radiographs have changed"},
            "startsAt": "2026-11-26T04:00:01.123456789Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus:9090/graph",
            "fingerprint": "4c1d2e3f40516273",
        }
    ],
}
RUN = "alert-ModelDrift-4c1d2e3f40516273-20261126T040001123456Z"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def airflow() -> Iterator[Api]:
    with AirflowApi() as api:
        yield api


@pytest.fixture
def prefect() -> Iterator[Api]:
    with PrefectApi() as api:
        yield api


def orchestrator(api: Api) -> Orchestrator:
    return (
        Airflow(api.url, USER, PASSWORD, DAG)
        if isinstance(api, AirflowApi)
        else Prefect(api.url, "pneumonia-monitor/monitor")
    )


def client_of(api: Api) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # starlette asks for httpx2, which does not differ in what is used here
        from starlette.testclient import TestClient
    made = orchestrator(api)
    return TestClient(Webhook(made, TOKEN, PipelineMetrics(made)).app)


def post(client: Any, body: Any, token: str = TOKEN) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post("/alerts", content=content, headers={"Authorization": f"Bearer {token}"})


def changed(**members: Any) -> dict[str, Any]:
    """A notification whose alert has other members."""
    found = copy.deepcopy(FIRING)
    found["alerts"][0] |= members
    return found


def starts(client: Any) -> dict[str, float]:
    lines = re.findall(
        r'^pneumonia_loop_starts_total\{outcome="(\w+)"\} (\S+)$', client.get("/metrics").text, re.MULTILINE
    )
    return {name: float(value) for name, value in lines}


@pytest.mark.parametrize("kind", ["airflow", "prefect"])
def test_an_alert_that_is_delivered_twice_starts_one_run(kind: str, request: pytest.FixtureRequest) -> None:
    api = request.getfixturevalue(kind)
    with client_of(api) as client:
        first, second = post(client, FIRING), post(client, FIRING)
        assert (first.status_code, first.json()) == (200, {"runs": {RUN: "started"}})
        assert (second.status_code, second.json()) == (200, {"runs": {RUN: "known"}})
        assert api.started == {RUN: {"trigger": RUN}}
        assert starts(client) == {"started": 1, "known": 1, "failed": 0}


def test_an_alert_that_fires_again_after_its_end_starts_another_run(airflow: Api) -> None:
    with client_of(airflow) as client:
        post(client, FIRING)
        post(client, changed(startsAt="2026-11-27T04:00:01.123456789Z"))
        post(client, changed(fingerprint="00000000000000aa"))
    assert len(airflow.started) == 3


@pytest.mark.parametrize(
    "members",
    [
        {"status": "resolved"},
        {"labels": {"alertname": "ServiceDown"}},
        {"labels": {"alertname": "ModelDrift", "loop": "false"}},
    ],
)
def test_other_alerts_start_nothing(airflow: Api, members: dict[str, Any]) -> None:
    with client_of(airflow) as client:
        answer = post(client, changed(**members))
    assert (answer.status_code, answer.json()) == (200, {"runs": {}})
    assert airflow.started == {}
    assert airflow.logins == 0


@pytest.mark.parametrize("kind", ["airflow", "prefect"])
def test_while_the_orchestrator_is_away_the_answer_asks_for_a_repetition(
    kind: str, request: pytest.FixtureRequest
) -> None:
    api = request.getfixturevalue(kind)
    with client_of(api) as client:
        api.broken = True
        assert post(client, FIRING).status_code == 503
        api.broken = False
        assert post(client, FIRING).json() == {"runs": {RUN: "started"}}
        assert starts(client) == {"started": 1, "known": 0, "failed": 1}
    with client_of(api) as gone:
        api.__exit__()
        assert post(gone, FIRING).status_code == 503
    assert list(api.started) == [RUN]


def test_a_token_that_has_expired_is_fetched_anew(airflow: Api) -> None:
    with client_of(airflow) as client:
        post(client, FIRING)
        airflow.token = "of another start"
        assert post(client, changed(fingerprint="aa")).status_code == 200
    assert airflow.logins == 2
    assert len(airflow.started) == 2


def test_a_wrong_login_and_a_missing_dag_are_failures_that_quote_no_password(
    airflow: Api, caplog: pytest.LogCaptureFixture
) -> None:
    for made in (Airflow(airflow.url, USER, "wrong-password", DAG), Airflow(airflow.url, USER, PASSWORD, "another")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from starlette.testclient import TestClient
        with TestClient(Webhook(made, TOKEN, PipelineMetrics(made)).app) as client:
            assert post(client, FIRING).status_code == 503
    assert "401" in caplog.text
    assert "404" in caplog.text
    assert "wrong-password" not in caplog.text
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", "é"])
def test_a_wrong_token_is_refused_before_the_body_is_read(airflow: Api, token: str) -> None:
    with client_of(airflow) as client:
        headers = {"Authorization": f"Bearer {token}".encode("latin-1")}
        assert client.post("/alerts", content=b"nonsense", headers=headers).status_code == 401
        assert client.post("/alerts", content=b"nonsense").status_code == 401
        assert client.get("/healthz").status_code == 200
    assert airflow.started == {}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"[]",
        {"version": "3", "alerts": []},
        {"version": "4"},
        changed(startsAt="yesterday"),
        changed(fingerprint="../../etc"),
        changed(labels={"alertname": 7}),
    ],
)
def test_what_is_no_notification_is_refused(airflow: Api, body: Any) -> None:
    with client_of(airflow) as client:
        assert post(client, body).status_code == 422
        assert post(client, b" " * (MAX_BODY + 1)).status_code == 413
    assert airflow.started == {}


def test_the_metrics_have_the_parts_and_the_pipelines(airflow: Api, prefect: Api) -> None:
    with client_of(airflow) as client:
        text = client.get("/metrics").text
        for line in (
            'pneumonia_part_up{part="airflow_scheduler"} 1.0',
            'pneumonia_part_up{part="airflow_dag_processor"} 0.0',
            'pneumonia_pipeline_runs{pipeline="pneumonia_monitor",state="failed"} 1.0',
            'pneumonia_pipeline_last_duration_seconds{pipeline="pneumonia_monitor"} 12.5',
            'pneumonia_pipeline_last_success{pipeline="pneumonia_monitor"} 1.0',
        ):
            assert line in text.splitlines()
        assert 'last_duration_seconds{pipeline="other"}' not in text
        airflow.broken = True
        text = client.get("/metrics").text
        assert text.count("pneumonia_part_up{") == 4
        assert 'pneumonia_part_up{part="airflow_apiserver"} 0.0' in text
        assert "pneumonia_pipeline_runs{" not in text
    with client_of(prefect) as client:
        text = client.get("/metrics").text
        assert 'pneumonia_part_up{part="prefect"} 1.0' in text
        assert 'pneumonia_pipeline_runs{pipeline="pneumonia-monitor",state="running"} 1.0' in text
        assert 'pneumonia_pipeline_last_duration_seconds{pipeline="pneumonia-monitor"} 4.5' in text


@pytest.mark.parametrize("kind", ["airflow", "prefect"])
def test_an_answer_of_another_server_is_a_failure_in_words(
    kind: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    api = request.getfixturevalue(kind)
    api.strange = True
    with client_of(api) as client:
        assert post(client, FIRING).status_code == 503
        assert not re.search(r"^pneumonia_part_up\{.*\} 1", client.get("/metrics").text, re.MULTILINE)
    assert "gives an answer that is not understood (KeyError" in caplog.text


@pytest.mark.parametrize("kind", ["airflow", "prefect"])
def test_a_server_that_hangs_holds_up_no_scrape(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every question has its time, and after the first without an answer no other is asked."""
    monkeypatch.setattr("pneumonia.serving.orchestrators.LOOK_SECONDS", 0.1)
    api = request.getfixturevalue(kind)
    api.delay = 1.0
    with client_of(api) as client:
        began = time.monotonic()
        text = client.get("/metrics").text
        assert time.monotonic() - began < 1.0
        assert set(re.findall(r"^pneumonia_part_up\{.*\} (\S+)$", text, re.MULTILINE)) == {"0.0"}


def test_prefects_login_is_sent(prefect: Api) -> None:
    assert isinstance(prefect, PrefectApi)
    prefect.login = "Basic dXNlcjpwYXNz"
    assert Prefect(prefect.url, "pneumonia-monitor/monitor", "user:pass").start("one")
    assert Prefect(prefect.url, "pneumonia-monitor/monitor").parts() == {"prefect": False}


def test_a_token_is_needed_and_not_a_short_one() -> None:
    for environment in ({}, {VARIABLE: ""}, {VARIABLE: "short"}):
        with pytest.raises(ConfigError, match=VARIABLE):
            token_of(environment, "127.0.0.1")
    assert token_of({VARIABLE: f"{TOKEN}\n"}, "0.0.0.0") == TOKEN  # noqa: S104


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://x", "http://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        Airflow(url, USER, PASSWORD, DAG)


def _read(url: str) -> bytes:
    """Read a page of a server that has said its address and is about to accept."""
    end = time.monotonic() + 30
    while True:
        try:
            with DIRECT.open(url, timeout=30) as answer:
                content: bytes = answer.read()
                return content
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.05)


@pytest.mark.integration
def test_the_command_serves_and_ends_with_0(airflow: Api) -> None:
    environment = {VARIABLE: TOKEN, "AIRFLOW_USER": USER, "AIRFLOW_PASSWORD": PASSWORD, "NO_PROXY": "*"}
    command = [sys.executable, "-m", "pneumonia", "webhook", "--airflow", airflow.url, "--port", "0"]
    with subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.match(r"(http://127\.0\.0\.1:\d+)/alerts: ", process.stdout.readline())
            assert found
            assert b'pneumonia_part_up{part="airflow_apiserver"} 1.0' in _read(f"{found[1]}/metrics")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()


@pytest.mark.integration
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name one orchestrator"),
        (["--airflow", "http://127.0.0.1:1", "--prefect", "http://127.0.0.1:1/api"], "name one orchestrator"),
        (["--airflow", "http://127.0.0.1:1"], "AIRFLOW_USER"),
        (["--prefect", "http://127.0.0.1:1/api"], VARIABLE),
    ],
)
def test_the_commands_wrong_use_is_one_message(arguments: list[str], words: str) -> None:
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("AIRFLOW_", "PNEUMONIA_W"))}
    command = [sys.executable, "-m", "pneumonia", "webhook", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert words in done.stderr
