"""The DAG files: what they hold, and that reading them costs next to nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.deployments.conftest import AIRFLOWS_OWN, FOR_STEPS

# One worker reads the DAG files, once.
pytestmark = pytest.mark.integration
FAST, FULL = "pneumonia_pipeline_fast", "pneumonia_pipeline_full"
MONITOR = "pneumonia_monitor"  # test_monitor_parity.py
CROSS_VALIDATION = "pneumonia_cross_validation"  # test_cross_validation_parity.py
SCORE = "pneumonia_score_archive"
STEPS = ("prepare_data", "train_model", "export_model", "validate_model", "build_dossier", "promote_model")


def test_airflow_finds_no_error_in_them(inspected: dict[str, Any]) -> None:
    assert inspected["errors"] == []


def test_no_step_has_a_parameter_of_a_name_of_airflows(dags: dict[str, Any]) -> None:
    """Airflow reads such a DAG without an error, and fails when the step begins."""
    tasks = [task for dag in dags.values() for task in dag["tasks"].values()]
    assert [task["reserved"] for task in tasks if task["reserved"]] == []
    assert sum(bool(task["arguments"]) for task in tasks) >= 10


def test_there_is_one_for_each_profile(dags: dict[str, Any]) -> None:
    assert sorted(dags) == [CROSS_VALIDATION, MONITOR, FAST, FULL, SCORE]


def test_reading_one_takes_less_than_two_seconds_and_imports_nothing_heavy(inspected: dict[str, Any]) -> None:
    assert all(dag["seconds"] < 2 for dag in inspected["dags"]), inspected["dags"]
    assert inspected["heavy"] == []


@pytest.mark.parametrize("name", [FAST, FULL])
def test_a_run_starts_only_when_somebody_starts_it_and_never_two_at_once(dags: dict[str, Any], name: str) -> None:
    dag = dags[name]
    assert dag["schedule"] is None
    assert dag["catchup"] is False
    assert dag["max_active_runs"] == 1
    assert dag["paused"] is False
    assert "Not a medical device" in dag["doc"]
    assert "pneumonia" in dag["tags"]


@pytest.mark.parametrize("name", [FAST, FULL])
def test_each_step_runs_its_own_function_in_the_python_of_the_library(dags: dict[str, Any], name: str) -> None:
    for step in STEPS:
        task = dags[name]["tasks"][step]
        assert task["class"] == "_PythonExternalDecoratedOperator"
        assert task["python"] == "/opt/pneumonia/bin/python"
        assert f"from tasks.{step} import " in task["source"]
        assert task["owner"] == "pneumonia"
        assert task["timeout"]


@pytest.mark.parametrize("name", [FAST, FULL])
def test_a_step_gets_a_list_of_variables_and_none_of_airflows(dags: dict[str, Any], name: str) -> None:
    for step in STEPS:
        task = dags[name]["tasks"][step]
        assert task["inherits"] is False
        assert FOR_STEPS.items() <= task["variables"].items()
        assert not set(AIRFLOWS_OWN) & set(task["variables"])
        assert not any(key.startswith("AIRFLOW") for key in task["variables"])


def test_the_complete_training_has_more_time_than_the_demo(dags: dict[str, Any]) -> None:
    assert dags[FULL]["tasks"]["train_model"]["timeout"] > dags[FAST]["tasks"]["train_model"]["timeout"]


def test_the_champion_is_an_asset_and_the_run_a_link(dags: dict[str, Any]) -> None:
    tasks = dags[FAST]["tasks"]
    assert tasks["promote_model"]["outlets"] == ["pneumonia_champion"]
    assert tasks["train_model"]["links"] == ["MLflow run"]
    assert tasks["validate_model"]["links"] == ["MLflow run"]


def test_a_person_may_have_to_approve_and_does_not_have_to_for_ever(dags: dict[str, Any]) -> None:
    approval = dags[FAST]["tasks"]["approve_promotion"]
    assert approval["class"] == "Approval"
    assert approval["response_timeout"]
    assert dags[FAST]["params"]["approval"]["value"] is False


def test_a_step_is_tried_again_only_where_that_can_help(inspected: dict[str, Any]) -> None:
    again = {"75", "-9"}  # what the step calls worth it; killed, which is often too little memory
    stops = {"-15", "-2", "143", "130"}  # asked for
    assert {status for status, found in inspected["retries"].items() if found == "default"} == again
    assert {status for status, found in inspected["retries"].items() if found == "fail"} == stops | {"65", "70", "1"}
