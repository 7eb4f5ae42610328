"""The stack booted for real: login, four runs through Airflow's REST API, what MLflow has of them, restart, backup."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests

from tests.deployments.stack import COMMIT, FAST, MODEL, ROOT, Stack, eventually
from tests.deployments.stack_runs import LONGER, SMALL, check_whole, in_epoch
from tests.support.exports import phantoms
from tests.support.images import png

# One worker boots it, once; the tests build on one another in the order of this file.
pytestmark = [pytest.mark.stack, pytest.mark.timeout(1500)]
TEST_METRICS = ("test_auroc", "test_auprc", "test_accuracy", "test_sensitivity", "test_specificity")
EPOCH_METRICS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "precision", "recall", "f1", "auroc")
KILLED = {**LONGER, "phantom.train": 240, "train.epochs": 6, "train.seed": 21}
REFUSED = ({"data.root": "/srv/pneumonia/data/nowhere"}, "/srv/pneumonia/data/nowhere")
MISTYPED = ({"train": {"epoch": 3}, "aproval": True}, "aproval: unknown key; did you mean approval?")
MONITOR = "pneumonia_monitor"
DAGS = {FAST, "pneumonia_pipeline_full", MONITOR, "pneumonia_cross_validation", "pneumonia_score_archive"}
PATHS = ("metrics", "v1/model", "v1/samples")
MISNAMED = ({**SMALL, "registry.name": "pneumonia-tiny"}, "a name for them ends in -phantom")


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """The Prefect flow with the same settings as the first run, started beside it, and its work folder."""
    work = tmp_path_factory.mktemp("flow")
    settings = [argument for name, value in SMALL.items() for argument in ("--set", f"{name}={value}")]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PNEUMONIA_", "MLFLOW_"))}
    with (
        (work / "output").open("wb") as output,
        subprocess.Popen(
            [sys.executable, "flows/pipeline.py", *settings, "--set", f"work={work}"],
            cwd=ROOT,
            env=clean | {"PREFECT_HOME": str(work / "prefect")},
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            yield process, work
        finally:
            process.kill()


# the variables of the step's process, as the kernel knows them from its start
STEPS_ENVIRONMENT = """
import glob
for folder in glob.glob("/proc/[0-9]*"):
    if open(folder + "/cmdline", "rb").read().startswith(b"/opt/pneumonia/bin/python"):
        print(open(folder + "/environ").read().replace(chr(0), chr(10)))
"""


# a notification, delivered to the webhook from within its container, which nothing else reaches
DELIVERY = """
import os, sys, urllib.request as r
headers = {"Authorization": "Bearer " + os.environ["PNEUMONIA_WEBHOOK_TOKEN"]}
print(r.urlopen(r.Request("http://127.0.0.1:9095/alerts", sys.argv[1].encode(), headers)).read().decode())
"""


class Approved(NamedTuple):
    """A run that a person was asked about: its id, what was asked, and what the promotion was doing meanwhile."""

    run: str
    question: str
    promotion: str | None


@pytest.fixture(scope="module")
def approved(stack: Stack, flow: object) -> Approved:
    """The first run: it asks for the approval, gets it, and ends with a champion."""
    run = stack.trigger({**SMALL, "approval": True})
    question = stack.question(run)
    promotion = stack.tasks(run)["promote_model"]["state"]
    stack.answer(run, "Approve")
    state = stack.finished(run)
    assert state == "success", {name: stack.log(run, name)[-1500:] for name in stack.tasks(run)}
    return Approved(run, question, promotion)


@pytest.fixture(scope="module")
def first(approved: Approved) -> str:
    return approved.run


@pytest.fixture(scope="module")
def trained(stack: Stack, first: str) -> dict[str, Any]:
    found: dict[str, Any] = stack.xcom(first, "train_model", "trained")
    return found


class Restarted(NamedTuple):
    """A run in whose training the scheduler was killed and the stack taken down, and what could be seen meanwhile."""

    run: str
    champions: tuple[dict[str, Any], dict[str, Any]]
    containers: str
    backup: str
    environment: set[str]


@pytest.fixture(scope="module")
def restarted(stack: Stack, first: str, tmp_path_factory: pytest.TempPathFactory) -> Restarted:
    """The second run's training is in its second epoch when everything goes away; the stack is up again."""
    before = stack.champion()
    run = stack.trigger(KILLED)
    in_epoch(stack, run, 2)
    environment = set(stack.compose("exec", "-T", "airflow-scheduler", "python", "-c", STEPS_ENVIRONMENT).splitlines())
    stack.compose("kill", "airflow-scheduler")
    stack.make("down")
    containers = stack.compose("ps", "--all", "--quiet").strip()
    folder = tmp_path_factory.mktemp("too-early")
    backup = stack.make("backup", f"BACKUP={folder / 'backup'}", check=False)
    assert list(folder.iterdir()) == []
    stack.up()
    return Restarted(run, (before, stack.champion()), containers, backup, environment)


def test_make_up_ends_healthy_and_says_where_and_how_to_log_in(stack: Stack) -> None:
    settings = stack.settings()
    for part, address in (("AIRFLOW", stack.airflow_url), ("MLFLOW", stack.mlflow_url)):
        login = f"login {settings[f'{part}_ADMIN_USER']}, password {part}_ADMIN_PASSWORD in {stack.env_file}"
        assert re.search(rf"{re.escape(address)} +{re.escape(login)}$", stack.up_output, re.MULTILINE), stack.up_output
    secrets = stack.secrets()
    assert len(secrets) >= 13
    assert f"{stack.service_url}   API key PNEUMONIA_API_KEY in {stack.env_file}\n" in stack.up_output
    assert [name for name, value in secrets.items() if value in stack.up_output] == []
    assert f"{stack.prometheus_url}   alerts {stack.alertmanager_url}\n" in stack.up_output
    lines = stack.compose("ps", "--format", "json").splitlines()
    health = {part["Service"]: part["Health"] for part in map(json.loads, lines)}
    assert len(health) == 9
    assert set(health.values()) == {"healthy"}
    assert stack.memory() < 2 * 2**30  # and idle


def test_a_checkout_that_only_its_owner_can_read_makes_images_that_their_users_can_read(stack: Stack) -> None:
    assert not any(path.stat().st_mode & 0o077 for path in stack.root.rglob("*"))
    packages = "/opt/pneumonia/lib/python3.11/site-packages"
    wanted = ("/opt/stack", "/srv/pneumonia", f"{packages}/pneumonia", f"{packages}/tasks")
    find = ("exec", "-T", "airflow-scheduler", "find", *wanted)
    assert f"{packages}/tasks/train_model.py" in stack.compose(*find).splitlines()
    assert stack.compose(*find, "!", "-readable") == ""
    packages = "/opt/serving/lib/python3.11/site-packages/pneumonia"
    find = ("exec", "-T", "serving", "find", packages)
    assert f"{packages}/serving/server.py" in stack.compose(*find).splitlines()
    assert stack.compose(*find, "!", "-readable") == ""


def test_only_the_right_password_opens_it(stack: Stack) -> None:
    settings = stack.settings()
    assert stack.login(settings["AIRFLOW_ADMIN_USER"], settings["AIRFLOW_ADMIN_PASSWORD"]).status_code == 201
    assert stack.login(settings["AIRFLOW_ADMIN_USER"], "airflow").status_code == 401
    assert requests.get(f"{stack.airflow_url}/api/v2/dags", timeout=30).status_code == 401


def test_mlflow_lets_nobody_in_without_a_login(stack: Stack) -> None:
    settings = stack.settings()
    pipeline = (settings["MLFLOW_PIPELINE_USER"], settings["MLFLOW_PIPELINE_PASSWORD"])
    admin = (settings["MLFLOW_ADMIN_USER"], settings["MLFLOW_ADMIN_PASSWORD"])
    search, users = "api/2.0/mlflow/experiments/search?max_results=1", "api/2.0/mlflow/users/create"
    alias = "api/2.0/mlflow/registered-models/alias"
    body = {"name": MODEL, "alias": "champion", "version": "1"}
    for method, path in (("GET", search), ("POST", alias), ("GET", "get-artifact?run_id=0&path=x"), ("GET", "")):
        answer = requests.request(method, f"{stack.mlflow_url}/{path}", json=body, timeout=30)
        assert answer.status_code == 401, (path, answer.status_code)
        assert stack.mlflow_request(method, path, ("admin", "password1234"), json=body).status_code == 401
    assert stack.mlflow_request("GET", search, pipeline).status_code == 200
    assert stack.mlflow_request("GET", search, admin).status_code == 200
    new = {"username": "another", "password": "a-long-enough-password"}
    assert stack.mlflow_request("POST", users, pipeline, json=new).status_code == 403
    container = ("exec", "-T", "airflow-apiserver", "env")
    assert "MLFLOW" not in stack.compose(*container)


def test_the_service_is_alive_and_has_no_champion_yet(stack: Stack) -> None:
    assert stack.service("GET", "healthz", key=False).status_code == 200
    waiting = stack.service("GET", "readyz", key=False)
    assert (waiting.status_code, waiting.headers["Content-Type"]) == (503, "application/problem+json")
    assert stack.service("POST", "v1/predict", data=b"x").status_code == 503
    assert stack.service("GET", "", key=False).status_code == 200, "the page, which asks for the key"
    image = f"pneumonia-serving:{stack.project}"
    inspected = ["docker", "image", "inspect", "--format", "{{.Size}}", image]
    size = int(subprocess.run(inspected, capture_output=True, timeout=60, check=True).stdout)
    assert size < 680e6


def test_all_dags_are_there_without_import_errors(stack: Stack) -> None:
    found = eventually("all DAGs", lambda: len(d := stack.airflow("GET", "dags")["dags"]) == len(DAGS) and d, 60)
    assert {dag["dag_id"] for dag in found} == DAGS
    assert stack.airflow("GET", "importErrors")["import_errors"] == []


def test_no_part_runs_as_root(stack: Stack) -> None:
    for service in (
        "mlflow",
        "airflow-apiserver",
        "airflow-scheduler",
        "airflow-dag-processor",
        "serving",
        "alert-webhook",
    ):
        assert stack.compose("exec", "-T", service, "id", "-u").strip() == "1000"
    for service in ("prometheus", "alertmanager"):  # as the published images have it
        assert stack.compose("exec", "-T", service, "id", "-un").strip() == "nobody"
    process = stack.compose("exec", "-T", "postgres", "stat", "-c", "%U", "/var/lib/postgresql/data/postmaster.pid")
    assert process.strip() == "postgres"


@pytest.mark.parametrize("value", [0, "many", -1])
def test_a_wrong_value_in_the_form_is_refused_with_its_name(stack: Stack, value: Any) -> None:
    body = {"logical_date": None, "conf": {"train.epochs": value}}
    answer = stack.airflow("POST", f"dags/{FAST}/dagRuns", body, expect=400)
    assert "train.epochs" in str(answer["detail"])


@pytest.mark.parametrize(("conf", "words"), [REFUSED, MISTYPED, pytest.param(*MISNAMED, marks=pytest.mark.nightly)])
def test_wrong_input_ends_at_once_with_one_readable_line(stack: Stack, conf: dict[str, Any], words: str) -> None:
    before = len(stack.versions())
    run = stack.trigger(conf)
    assert stack.finished(run) == "failed"
    task = stack.tasks(run)["prepare_data"]
    assert (task["state"], task["try_number"]) == ("failed", 1)
    line = stack.last_words(run, "prepare_data")
    assert line.startswith("prepare_data stopped: ")
    assert words in line
    assert len(stack.versions()) == before


def test_the_promotion_waits_for_the_approval_where_it_is_asked_for(stack: Stack, approved: Approved) -> None:
    assert "AUROC" in approved.question
    assert approved.promotion is None
    assert stack.tasks(approved.run)["promote_model"]["state"] == "success"
    assert len(stack.versions()) == 1


def test_the_log_tells_every_epoch_and_the_address_of_the_run(stack: Stack, first: str) -> None:
    log = stack.log(first, "train_model")
    assert "epoch 1/2" in log
    assert "epoch 2/2, validation AUROC" in log
    run = stack.xcom(first, "train_model", "trained")["run_id"]
    address = f"{stack.mlflow_url}/#/experiments/1/runs/{run}"
    assert f"MLflow run: {address}" in log
    path = f"dags/{FAST}/dagRuns/{first}/taskInstances/train_model/links"
    assert stack.airflow("GET", path)["extra_links"] == {"MLflow run": address}


def test_mlflow_has_the_run_with_metrics_parameters_and_artifacts(
    stack: Stack, first: str, trained: dict[str, Any]
) -> None:
    run = stack.mlflow("GET", "runs/get", run_id=trained["run_id"])["run"]
    assert run["info"]["status"] == "FINISHED"
    metrics = {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}
    assert {*TEST_METRICS, *EPOCH_METRICS, "best_epoch_val_accuracy"} <= set(metrics)
    assert {f"{name}_low" for name in TEST_METRICS} <= set(metrics)
    assert [step for step, _ in stack.history(trained["run_id"], "val_loss")] == [1, 2]
    tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
    assert tags["airflow.run_id"] == first
    assert tags["airflow.dag_id"] == FAST
    assert tags["mlflow.source.git.commit"] == COMMIT
    parameters = {parameter["key"]: parameter["value"] for parameter in run["data"]["params"]}
    assert parameters["train.batch_size"] == str(SMALL["train.batch_size"])
    folders = {file["path"] for file in stack.mlflow("GET", "artifacts/list", run_id=trained["run_id"])["files"]}
    assert {"weights", "report", "data"} <= folders


def test_the_model_is_champion_and_its_asset_is_updated(stack: Stack, first: str, trained: dict[str, Any]) -> None:
    champion = stack.champion()
    assert champion["run_id"] == trained["run_id"]
    event = stack.airflow("GET", "assets/events")["asset_events"][-1]
    assert event["name"] == f"{MODEL}@champion"
    assert event["extra"]["version"] == champion["version"]
    assert event["source_run_id"] == first


def test_the_service_answers_with_the_champion(stack: Stack, first: str) -> None:
    """Through the registry's REST API, with an account that reads; every answer names the version."""
    champion = stack.champion()
    tags = {tag["key"]: tag["value"] for tag in champion["tags"]}
    card = stack.serves(champion["version"])
    assert (card["model"], card["phantom"], card["digests"]["export"]) == (MODEL, True, tags["export_digest"])
    assert stack.service("GET", "readyz", key=False).status_code == 200
    samples = stack.service("GET", "v1/samples").json()["samples"]
    sample = stack.service("GET", samples[0]["url"].lstrip("/"))
    assert (sample.status_code, sample.headers["Content-Type"]) == (200, "image/png")
    image = png(phantoms(5, 9).pixels[4])  # one like those that it was trained on
    answer = stack.service("POST", "v1/predict", data=image).json()["results"][0]
    assert (answer["model"], answer["version"], answer["phantom"]) == (MODEL, champion["version"], True)
    for path in ("v1/predict", "v1/explain"):
        assert stack.service("POST", path, key=False, data=image).status_code == 401
    for path in ("v1/model", "metrics", f"v2/models/{MODEL}"):
        assert stack.service("GET", path, key=False).status_code == 401


def test_the_services_account_reads_the_registry_and_changes_nothing(stack: Stack, first: str) -> None:
    settings, champion = stack.settings(), stack.champion()
    login = (settings["MLFLOW_SERVING_USER"], settings["MLFLOW_SERVING_PASSWORD"])
    found = stack.mlflow_request("GET", "api/2.0/mlflow/registered-models/get", login, params={"name": MODEL})
    assert found.status_code == 200
    changes = {
        "registered-models/set-tag": {"name": MODEL, "key": "k", "value": "v"},
        "registered-models/alias": {"name": MODEL, "alias": "champion", "version": champion["version"]},
        "model-versions/set-tag": {"name": MODEL, "version": champion["version"], "key": "k", "value": "v"},
        "runs/log-parameter": {"run_id": champion["run_id"], "key": "k", "value": "v"},
    }
    for path, body in changes.items():
        answer = stack.mlflow_request("POST", f"api/2.0/mlflow/{path}", login, json=body)
        assert answer.status_code == 403, path


def test_prometheus_reads_every_part(stack: Stack, first: str) -> None:
    def up() -> Any:
        return (found := stack.values("up", "job")) and set(found.values()) == {1.0} and found

    targets = eventually("every target", up, 60)
    assert set(targets) == {"service", "pipelines", "prometheus", "alertmanager"}
    parts = {f"airflow_{part}" for part in ("apiserver", "scheduler", "dag_processor", "metadatabase")} | {"mlflow"}
    assert stack.values("pneumonia_part_up", "part") == dict.fromkeys(parts, 1.0)
    runs = f'pneumonia_pipeline_runs{{pipeline="{FAST}"}}'
    eventually("the run in the metrics", lambda: stack.values(runs, "state")["success"] >= 1, 60)
    assert stack.values("pneumonia_pipeline_last_duration_seconds", "pipeline")[FAST] > 1


def test_the_key_of_the_metrics_opens_nothing_else(stack: Stack) -> None:
    key = {"Authorization": f"Bearer {stack.settings()['PNEUMONIA_METRICS_KEY']}"}
    statuses = [requests.get(f"{stack.service_url}/{path}", headers=key, timeout=30).status_code for path in PATHS]
    assert statuses == [200, 401, 401]


def test_prometheus_has_the_rules_and_knows_alertmanager(stack: Stack) -> None:
    groups = requests.get(f"{stack.prometheus_url}/api/v1/rules", timeout=30).json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == 21
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
    known = requests.get(f"{stack.prometheus_url}/api/v1/alertmanagers", timeout=30).json()["data"]
    assert [one["url"] for one in known["activeAlertmanagers"]] == ["http://alertmanager:9093/api/v2/alerts"]


def expressions(path: Path) -> list[tuple[str, str]]:
    """The expressions of a dashboard, each with its panel's title."""
    panels = json.loads(path.read_text())["panels"]
    return [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]


def test_every_panels_expression_is_evaluated(stack: Stack, first: str) -> None:
    """And those of the service have values; what is not refused, or not yet recorded, has none."""
    stack.serves(stack.champion()["version"])
    image = png(phantoms(5, 9).pixels[4])
    for body in (image, image, b"no picture"):
        stack.service("POST", "v1/predict", data=body)
    panels = {path.stem: expressions(path) for path in (ROOT / "deployments/grafana/dashboards").iterdir()}
    assert len(panels) == 3
    for expression in [found for name in ("model", "pipeline") for _, found in panels[name]]:
        stack.query(expression)

    def silent() -> list[str]:
        return [title for title, expression in panels["service"] if not stack.query(expression)]

    eventually("a value of every panel of the service", lambda: set(silent()) <= {"Alerts that fire"}, 90)


def shown_alerts(stack: Stack, instance: str) -> list[dict[str, Any]]:
    """The alerts of an instance, as Alertmanager has them."""
    query = {"filter": f'instance="{instance}"'}
    return list(requests.get(f"{stack.alertmanager_url}/api/v2/alerts", params=query, timeout=30).json())


def test_an_alert_starts_the_monitor_once_however_often_it_is_delivered(stack: Stack) -> None:
    """The DAG is paused meanwhile, so that the run waits; it is deleted at the end."""
    stack.airflow("PATCH", f"dags/{MONITOR}", {"is_paused": True})
    began = datetime.now(UTC)
    labels = {"alertname": "ModelDrift", "severity": "warning", "loop": "true", "instance": began.isoformat()}
    alert = {"labels": labels, "annotations": {"summary": "of the test"}, "startsAt": began.isoformat()}
    sent = requests.post(f"{stack.alertmanager_url}/api/v2/alerts", json=[alert], timeout=30)
    assert sent.status_code == 200, sent.text

    def runs() -> list[str]:
        found = stack.airflow("GET", f"dags/{MONITOR}/dagRuns")["dag_runs"]
        pattern = f"alert-ModelDrift-[0-9a-f]{{16}}-{began:%Y%m%dT%H%M%S%fZ}"
        return [name for run in found if re.fullmatch(pattern, name := run["dag_run_id"])]

    (run,) = eventually("the monitor's run", runs, 90)
    assert stack.airflow("GET", f"dags/{MONITOR}/dagRuns/{run}")["conf"]["trigger"] == run
    fingerprint = run.split("-")[2]
    again = {"status": "firing", "labels": labels, "startsAt": alert["startsAt"], "fingerprint": fingerprint}
    body = json.dumps({"version": "4", "alerts": [again]})
    said = stack.compose("exec", "-T", "alert-webhook", "python", "-c", DELIVERY, body)
    assert json.loads(said) == {"runs": {run: "known"}}
    assert runs() == [run]
    (shown,) = shown_alerts(stack, labels["instance"])
    assert [one["name"] for one in shown["receivers"]] == ["monitor", "page"]
    # over, so that Alertmanager does not repeat it: a run that was deleted would be started anew
    over = alert | {"endsAt": datetime.now(UTC).isoformat()}
    requests.post(f"{stack.alertmanager_url}/api/v2/alerts", json=[over], timeout=30).raise_for_status()
    eventually("the end of the alert", lambda: not shown_alerts(stack, labels["instance"]), 30)
    stack.airflow("DELETE", f"dags/{MONITOR}/dagRuns/{run}", expect=204)
    stack.airflow("PATCH", f"dags/{MONITOR}", {"is_paused": False})


def test_the_account_of_alerts_starts_the_monitor_and_no_other_dag(stack: Stack) -> None:
    settings = stack.settings()
    token = stack.login(settings["AIRFLOW_ALERTS_USER"], settings["AIRFLOW_ALERTS_PASSWORD"]).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}

    def status(method: str, path: str, body: Any = None) -> int:
        url = f"{stack.airflow_url}/api/v2/{path}"
        return requests.request(method, url, json=body, headers=headers, timeout=60).status_code

    assert status("GET", f"dags/{FAST}/dagRuns") == 200
    assert status("POST", f"dags/{FAST}/dagRuns", {"logical_date": None}) == 403
    assert status("PATCH", f"dags/{FAST}", {"is_paused": True}) == 403
    for path in ("connections", "variables", "config"):
        assert status("GET", path) == 403, path


def test_the_flow_on_the_same_phantoms_comes_to_the_same_model(
    stack: Stack, first: str, trained: dict[str, Any], flow: tuple[subprocess.Popen[bytes], Path]
) -> None:
    """Prefect here, Airflow there: split, every epoch's metrics, verdict and weights are equal."""
    process, work = flow
    assert process.wait(300) == 0, (work / "output").read_text()[-3000:]
    (found,) = work.glob("training/*/*/trained.json")
    other = json.loads(found.read_text())
    assert other["weights_digest"] == trained["weights_digest"]
    assert other["key"] == trained["key"]
    measured = {"seconds", "images_per_second", "data_wait"}  # of the machine, not of the model
    epochs = [
        [{name: value for name, value in epoch.items() if name not in measured} for epoch in one["epochs"]]
        for one in (other, trained)
    ]
    assert epochs[0] == epochs[1]
    (manifest,) = work.glob("audits/*/manifest.csv")
    dataset = stack.xcom(first, "prepare_data", "dataset")
    assert dataset["split_digest"].startswith(manifest.parent.name.partition("-")[0])
    verdict = json.loads(next(work.glob("training/*/*/report/verdict.json")).read_text())
    assert verdict == stack.xcom(first, "validate_model")["verdict"]


@pytest.mark.nightly
def test_what_was_rejected_can_be_approved_by_another_run(stack: Stack, first: str) -> None:
    """With the approval asked for, the promotion waits; a rejection leaves the champion as it is."""
    before = len(stack.versions())
    for chosen, state in (("Reject", "skipped"), ("Approve", "success")):
        assert len(stack.versions()) == before
        run = stack.trigger({**SMALL, "train.seed": 1, "approval": True})
        assert "AUROC" in stack.question(run)
        assert stack.tasks(run)["promote_model"]["state"] is None
        stack.answer(run, chosen)
        assert stack.finished(run) == "success"
        assert stack.tasks(run)["promote_model"]["state"] == state
    assert len(stack.versions()) == before + 1


def test_what_was_made_is_still_there_after_down_and_up(
    stack: Stack, first: str, trained: dict[str, Any], restarted: Restarted
) -> None:
    assert restarted.containers == ""
    before, after = restarted.champions
    assert before == after
    assert stack.mlflow("GET", "runs/get", run_id=trained["run_id"])["run"]["info"]["status"] == "FINISHED"
    assert stack.state(first) == "success"
    assert "start the stack first: make up" in restarted.backup


def test_a_step_gets_none_of_airflows_secrets(stack: Stack, restarted: Restarted) -> None:
    names = {line.partition("=")[0] for line in restarted.environment}
    assert {"PNEUMONIA_WORK", "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_PASSWORD"} <= names
    assert not any(name.startswith("AIRFLOW__") for name in names)
    text = "\n".join(restarted.environment)
    own = {"MLFLOW_PIPELINE_PASSWORD", "MONITORING_DB_PASSWORD"}
    assert {name for name, value in stack.secrets().items() if value in text} == own


def test_a_training_goes_on_where_the_scheduler_was_killed_and_the_stack_taken_down(
    stack: Stack, restarted: Restarted
) -> None:
    run = restarted.run
    assert stack.finished(run) == "success"
    assert stack.tasks(run)["train_model"]["try_number"] == 2
    assert "epoch 1/" not in stack.log(run, "train_model", 2)
    trained = check_whole(stack, run, KILLED)
    champion = stack.champion()
    assert champion["run_id"] == trained["run_id"]
    stack.serves(champion["version"])


def test_a_training_that_is_done_is_found_again_and_a_person_rejects_the_model(
    stack: Stack, trained: dict[str, Any], restarted: Restarted
) -> None:
    champion = stack.champion()
    versions = stack.versions()
    again = stack.trigger({**SMALL, "approval": True})
    assert "AUROC" in stack.question(again)
    stack.answer(again, "Reject")
    assert stack.finished(again) == "success"
    assert stack.tasks(again)["promote_model"]["state"] == "skipped"
    assert stack.xcom(again, "train_model", "trained") == trained
    assert len(stack.mlflow_runs(trained["key"])) == 1
    assert (stack.champion(), stack.versions()) == (champion, versions)


def test_a_backup_brings_everything_back_into_an_empty_stack(
    stack: Stack, first: str, trained: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    key = "/var/lib/pneumonia/patient.key"  # phantoms have no identifiers, so that no run has made one
    parts = ("airflow-scheduler", "serving")
    for part in parts:
        stack.compose("exec", "-T", part, "sh", "-c", f"umask 077; [ -e {key} ] || head -c 32 /dev/urandom >{key}")
    digests = [stack.compose("exec", "-T", part, "sha256sum", key) for part in parts]
    stack.make("backup", f"BACKUP={folder}")
    champion, versions = stack.champion(), stack.versions()
    weights = stack.artifact(trained["run_id"], "weights/model.safetensors")
    stack.compose("down", "--volumes")
    stack.restore(folder)
    assert (stack.champion(), stack.versions()) == (champion, versions)
    stack.serves(champion["version"])
    assert stack.state(first) == "success"
    assert stack.artifact(trained["run_id"], "weights/model.safetensors") == weights
    assert [stack.compose("exec", "-T", part, "sha256sum", key) for part in parts] == digests
    for part in parts:
        assert stack.compose("exec", "-T", part, "stat", "-c", "%a %u", key).split() == ["600", "1000"]
    refused = stack.make("restore", f"BACKUP={tmp_path / 'nothing'}", check=False)
    assert "holds no airflow.dump" in refused
