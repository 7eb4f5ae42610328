"""Experiments and the runs in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from pneumonia.errors import TrackingError
from pneumonia.tracking.client import mlflow_client
from pneumonia.tracking.run import Run
from tests.support.runs import settings


def test_a_deleted_experiment_is_told(work: Path) -> None:
    run = Run.open(settings(work), "key", "name", {})
    client = mlflow_client(run.uri)
    client.delete_experiment(client.get_run(run.id).info.experiment_id)
    with pytest.raises(TrackingError, match=r"was deleted.*mlflow experiments restore"):
        Run.open(settings(work), "key", "name", {})


def test_a_work_folder_that_was_moved_is_told(work: Path, tmp_path: Path) -> None:
    Run.open(settings(work), "aa", "name", {})
    work.rename(tmp_path / "elsewhere")
    with pytest.raises(TrackingError, match=r"stores its files in .*move the work folder back"):
        Run.open(settings(tmp_path / "elsewhere"), "aa", "name", {})
    assert not work.exists()


def test_an_experiment_that_another_process_made_in_the_same_moment(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Run.open(settings(work), "aa", "name", {})
    truth = MlflowClient.get_experiment_by_name
    answers = iter([None])
    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", lambda *a: next(answers, truth(*a)))
    assert Run.open(settings(work), "aa", "name", {}).id == first.id


def test_a_run_whose_creation_was_not_answered_is_taken_up(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = MlflowClient.create_run

    def unanswered(*arguments: Any, **options: Any) -> None:
        whole(*arguments, **options)
        raise MlflowException("API request to http://server failed with exception timed out")

    monkeypatch.setattr(MlflowClient, "create_run", unanswered)
    run = Run.open(settings(work), "aa", "name", {})
    assert len(mlflow_client(run.uri).search_runs([run._experiment])) == 1


def test_a_run_has_a_user(work: Path) -> None:
    run = Run.open(settings(work), "aa", "name", {})
    assert mlflow_client(run.uri).get_run(run.id).data.tags["mlflow.user"] not in ("", "unknown")
