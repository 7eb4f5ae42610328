"""The stack booted for real: login, a run through Airflow's REST API, what MLflow has of it, approval, restart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.deployments.stack import FAST, MODEL, ROOT, SMALL, Stack, eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
TEST_FIGURES = ("test_auroc", "test_auprc", "test_accuracy", "test_sensitivity", "test_specificity")
EPOCH_FIGURES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "precision", "recall", "f1", "auroc")


@pytest.fixture(scope="module")
def finished(stack: Stack) -> str:
    """A run of the DAG with a conf, ended."""
    run = stack.trigger(SMALL)
    state = stack.finished(run)
    assert state == "success", {name: stack.log(run, name)[-1500:] for name in stack.tasks(run)}
    return run


@pytest.fixture(scope="module")
def trained(stack: Stack, finished: str) -> dict[str, Any]:
    found: dict[str, Any] = stack.xcom(finished, "train_model", "trained")
    return found


def test_make_up_ends_healthy_and_says_where_and_how_to_log_in(stack: Stack) -> None:
    settings = stack.settings()
    for address in (stack.airflow_url, stack.mlflow_url, f"127.0.0.1:{stack.ports['POSTGRES_PORT']}"):
        assert address in stack.up_output
    assert f"login {settings['AIRFLOW_ADMIN_USER']}, password {settings['AIRFLOW_ADMIN_PASSWORD']}" in stack.up_output
    lines = stack.compose("ps", "--format", "json").splitlines()
    health = {part["Service"]: part["Health"] for part in map(json.loads, lines)}
    assert len(health) == 5
    assert set(health.values()) == {"healthy"}
    assert stack.memory() < 2 * 2**30  # and idle


def test_only_the_right_password_opens_it(stack: Stack) -> None:
    settings = stack.settings()
    assert stack.login(settings["AIRFLOW_ADMIN_USER"], settings["AIRFLOW_ADMIN_PASSWORD"]).status_code == 201
    assert stack.login(settings["AIRFLOW_ADMIN_USER"], "airflow").status_code == 401
    assert requests.get(f"{stack.airflow_url}/api/v2/dags", timeout=30).status_code == 401


def test_both_dags_are_there_without_import_errors(stack: Stack) -> None:
    found = eventually("both DAGs", lambda: len(d := stack.airflow("GET", "dags")["dags"]) == 2 and d, 60)
    assert {dag["dag_id"] for dag in found} == {FAST, "pneumonia_pipeline_full"}
    assert stack.airflow("GET", "importErrors")["import_errors"] == []


def test_no_part_runs_as_root(stack: Stack) -> None:
    for service in ("mlflow", "airflow-apiserver", "airflow-scheduler", "airflow-dag-processor"):
        assert stack.compose("exec", "-T", service, "id", "-u").strip() == "1000"
    process = stack.compose("exec", "-T", "postgres", "stat", "-c", "%U", "/var/lib/postgresql/data/postmaster.pid")
    assert process.strip() == "postgres"


@pytest.mark.parametrize("value", [0, "many", -1])
def test_a_wrong_value_in_the_form_is_refused_with_its_name(stack: Stack, value: Any) -> None:
    body = {"logical_date": None, "conf": {"train.epochs": value}}
    answer = stack.airflow("POST", f"dags/{FAST}/dagRuns", body, expect=400)
    assert "train.epochs" in str(answer["detail"])


def test_the_log_tells_every_epoch_and_the_address_of_the_run(stack: Stack, finished: str) -> None:
    log = stack.log(finished, "train_model")
    assert "epoch 1/2" in log
    assert "epoch 2/2, validation AUROC" in log
    run = stack.xcom(finished, "train_model", "trained")["run_id"]
    address = f"{stack.mlflow_url}/#/experiments/1/runs/{run}"
    assert f"MLflow run: {address}" in log
    path = f"dags/{FAST}/dagRuns/{finished}/taskInstances/train_model/links"
    assert stack.airflow("GET", path)["extra_links"] == {"MLflow run": address}


def test_mlflow_has_the_run_with_metrics_parameters_and_artifacts(
    stack: Stack, finished: str, trained: dict[str, Any]
) -> None:
    run = stack.mlflow("GET", "runs/get", run_id=trained["run_id"])["run"]
    assert run["info"]["status"] == "FINISHED"
    metrics = {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}
    assert {*TEST_FIGURES, *EPOCH_FIGURES, "best_val_accuracy"} <= set(metrics)
    assert {f"{name}_low" for name in TEST_FIGURES} <= set(metrics)
    assert [step for step, _ in stack.history(trained["run_id"], "val_loss")] == [1, 2]
    tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
    assert tags["airflow.run_id"] == finished
    assert tags["airflow.dag_id"] == FAST
    parameters = {parameter["key"]: parameter["value"] for parameter in run["data"]["params"]}
    assert parameters["train.batch_size"] == "32"
    folders = {file["path"] for file in stack.mlflow("GET", "artifacts/list", run_id=trained["run_id"])["files"]}
    assert {"weights", "report", "data"} <= folders


def test_the_model_is_champion_and_its_asset_is_updated(stack: Stack, finished: str, trained: dict[str, Any]) -> None:
    champion = stack.mlflow("GET", "registered-models/alias", name=MODEL, alias="champion")["model_version"]
    assert champion["run_id"] == trained["run_id"]
    event = stack.airflow("GET", "assets/events")["asset_events"][-1]
    assert event["name"] == f"{MODEL}@champion"
    assert event["extra"]["version"] == champion["version"]
    assert event["source_run_id"] == finished


def test_the_flow_on_the_same_phantoms_comes_to_the_same_model(
    stack: Stack, finished: str, trained: dict[str, Any], tmp_path: Path
) -> None:
    """Prefect here, Airflow there: split, every epoch's figures, verdict and weights are equal."""
    settings = [argument for name, value in SMALL.items() for argument in ("--set", f"{name}={value}")]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PNEUMONIA_", "MLFLOW_"))}
    done = subprocess.run(
        [sys.executable, "flows/pipeline.py", *settings, "--set", f"work={tmp_path}"],
        cwd=ROOT,
        env=clean | {"PREFECT_HOME": str(tmp_path / "prefect")},
        timeout=300,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (found,) = tmp_path.glob("training/*/trained.json")
    other = json.loads(found.read_text())
    assert other["weights_digest"] == trained["weights_digest"]
    assert other["key"] == trained["key"]
    measured = {"seconds", "images_per_second", "data_wait"}  # of the machine, not of the model
    epochs = [
        [{name: value for name, value in epoch.items() if name not in measured} for epoch in one["epochs"]]
        for one in (other, trained)
    ]
    assert epochs[0] == epochs[1]
    (manifest,) = tmp_path.glob("audits/*/manifest.csv")
    dataset = stack.xcom(finished, "prepare_data", "dataset")
    assert dataset["split_digest"].startswith(manifest.parent.name)
    verdict = json.loads(next(tmp_path.glob("training/*/report/verdict.json")).read_text())
    assert verdict == stack.xcom(finished, "validate_model")["verdict"]


def test_a_person_approves_or_rejects(stack: Stack, finished: str) -> None:
    """With the approval asked for, the promotion waits; a rejection leaves the champion as it is."""
    for chosen, state in (("Reject", "skipped"), ("Approve", "success")):
        run = stack.trigger({**SMALL, "train.seed": 1, "approval": True})
        waiting = eventually(
            "the approval", lambda run=run: stack.tasks(run)["approve_promotion"]["state"] == "awaiting_input", 600
        )
        assert waiting
        assert stack.tasks(run)["promote_model"]["state"] is None
        # no person answers before the scheduler has taken note of the pause; Airflow 3.3 would ask once more
        time.sleep(10)
        path = f"dags/{FAST}/dagRuns/{run}/taskInstances/approve_promotion/-1/hitlDetails"
        assert "AUROC" in stack.airflow("GET", path)["body"]
        stack.airflow("PATCH", path, {"chosen_options": [chosen], "params_input": {}})
        assert stack.finished(run) == "success"
        assert stack.tasks(run)["promote_model"]["state"] == state
    assert len(stack.versions()) == 2


def test_what_was_made_is_still_there_after_down_and_up(stack: Stack, finished: str, trained: dict[str, Any]) -> None:
    """Runs, champion, DAG runs; and a training that is done is found again instead of being done anew."""
    before = stack.mlflow("GET", "registered-models/alias", name=MODEL, alias="champion")
    stack.make("down")
    assert stack.compose("ps", "--all", "--quiet").strip() == ""
    stack.up()
    assert stack.mlflow("GET", "registered-models/alias", name=MODEL, alias="champion") == before
    assert stack.mlflow("GET", "runs/get", run_id=trained["run_id"])["run"]["info"]["status"] == "FINISHED"
    assert stack.state(finished) == "success"
    again = stack.trigger(SMALL)
    assert stack.finished(again) == "success"
    assert stack.xcom(again, "train_model", "trained") == trained
    assert len(stack.mlflow_runs(trained["key"])) == 1
    # healthy within a minute, images built, where nothing else runs
    assert stack.up_seconds < (300 if stack.busy else 60)


def test_a_backup_brings_everything_back_into_an_empty_stack(
    stack: Stack, finished: str, trained: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    stack.make("backup", f"BACKUP={folder}")
    before = stack.mlflow("GET", "registered-models/alias", name=MODEL, alias="champion")
    stack.compose("down", "--volumes")
    stack.make("restore", f"BACKUP={folder}")
    stack._token = ""
    assert stack.mlflow("GET", "registered-models/alias", name=MODEL, alias="champion") == before
    assert stack.state(finished) == "success"
    address = f"{stack.mlflow_url}/get-artifact"
    where = {"run_id": trained["run_id"], "path": "weights/model.safetensors"}
    assert len(requests.get(address, params=where, timeout=60).content) > 40_000_000
    refused = stack.make("restore", f"BACKUP={tmp_path / 'nothing'}", check=False)
    assert "holds no airflow.dump" in refused
