"""Runs: what they hold, reopened rather than doubled, quiet."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pneumonia.config.schema import Config
from pneumonia.errors import TrackingError
from pneumonia.records.evaluation import Metric
from pneumonia.tracking.client import download_artifact, load_json, mlflow_client, run_exists, tracking_uri
from pneumonia.tracking.run import Run
from tests.support.runs import EPOCHS, settings, status, steps


def test_a_run_holds_what_was_logged(tracked: Config, key: str, tmp_path: Path) -> None:
    run = Run.open(tracked, key, "a name", {"mlflow.note.content": "a note"})
    run.log_parameters(tracked.model_dump())
    run.log_dataset("phantom", "ab" * 32, "/images", {"train": 3})
    assert run.log_epochs(EPOCHS[:2])
    run.log_intervals({"auroc": Metric(value=0.9, low=0.8, high=1.0)})
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "metrics.json").write_text('{"auroc": 0.9}')
    run.log_folder(tmp_path / "report", "report")
    run.log_file(tmp_path / "report" / "metrics.json", "metrics")
    run.finish()

    found = mlflow_client(run.uri).get_run(run.id)
    assert not run.reopened
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "a name"
    assert found.data.tags["mlflow.note.content"] == "a note"
    assert found.data.params["train.learning_rate"] == "0.001"
    assert found.data.metrics["val_loss"] == 0.5
    assert {name: found.data.metrics[f"test_auroc{name}"] for name in ("", "_low", "_high")} == {
        "": 0.9, "_low": 0.8, "_high": 1.0,
    }  # fmt: skip
    (entry,) = found.inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("phantom", ("ab" * 32)[:36])
    assert json.loads(entry.dataset.profile) == {"train": 3}
    assert load_json(run.uri, run.id, "report/metrics.json") == {"auroc": 0.9}
    assert download_artifact(run.uri, run.id, "metrics", tmp_path / "back").is_dir()


def test_the_pages_address(tracked: Config, key: str) -> None:
    run = Run.open(tracked, key, "name", {})
    if run.uri.startswith("http"):
        assert run.url is not None
        assert run.url.startswith(run.uri)
        assert run.id in run.url
    else:
        assert run.url is None


def test_files_lie_in_the_work_folder_with_sqlite(work: Path, tmp_path: Path) -> None:
    run = Run.open(settings(work), "key", "name", {})
    (tmp_path / "note").write_text("x")
    run.log_file(tmp_path / "note", "notes")
    assert list((work / "artifacts").rglob("note"))


def test_everything_twice_is_there_once(tracked: Config, key: str) -> None:
    run = Run.open(tracked, key, "name", {})
    for _ in range(2):
        run.log_parameters({"a": {"b": 1}})
        run.log_dataset("phantom", "digest", "/images", {})
        run.log_epochs(EPOCHS)
        run.log_metrics({"test_auroc": 0.9})
    assert steps(run) == [1, 2, 3, 4]
    assert len(steps(run, "test_auroc")) == 1
    assert len(mlflow_client(run.uri).get_run(run.id).inputs.dataset_inputs) == 1


def test_an_artifact_that_is_not_there_is_told_without_waiting(tracked: Config, key: str, tmp_path: Path) -> None:
    run = Run.open(tracked, key, "name", {})
    start = time.monotonic()
    with pytest.raises(TrackingError, match=rf"fetch weights/none of run {run.id}"):
        download_artifact(run.uri, run.id, "weights/none", tmp_path)
    assert time.monotonic() - start < 8


# --- reopened


def test_an_unfinished_run_is_reopened_and_completed(tracked: Config, key: str) -> None:
    killed = Run.open(tracked, key, "name", {"attempt": "1"})
    killed.log_parameters({"train": {"epochs": 4}})
    killed.log_epochs(EPOCHS[:2])  # and here it is killed: the run stays RUNNING

    run = Run.open(tracked, key, "name", {"attempt": "2"})
    run.log_parameters({"train": {"epochs": 4, "seed": 0}})
    assert run.log_epochs(EPOCHS)
    run.finish()

    found = mlflow_client(run.uri).get_run(run.id)
    assert run.reopened
    assert run.id == killed.id
    assert steps(run) == [1, 2, 3, 4]
    assert found.data.tags["attempt"] == "2"
    assert found.data.params == {"train.epochs": "4", "train.seed": "0"}
    assert found.info.status == "FINISHED"


@pytest.mark.parametrize("ending", ["KILLED", "FAILED"])
def test_a_failed_run_is_reopened(work: Path, ending: str) -> None:
    failed = Run.open(settings(work), "key", "name", {})
    failed.finish(ending)
    assert status(failed) == ending
    run = Run.open(settings(work), "key", "name", {})
    assert run.id == failed.id
    assert status(run) == "RUNNING"


def test_a_finished_run_and_another_key_are_left_alone(work: Path) -> None:
    first = Run.open(settings(work), "key", "name", {})
    other = Run.open(settings(work), "another key", "name", {})
    first.finish()
    again = Run.open(settings(work), "key", "name", {})
    assert len({first.id, other.id, again.id}) == 3
    assert not again.reopened


def test_a_changed_parameter_is_told_and_left(work: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run.open(settings(work), "key", "name", {})
    run.log_parameters({"train": {"epochs": 4}})
    run.log_parameters({"train": {"epochs": 5}})
    assert mlflow_client(run.uri).get_run(run.id).data.params["train.epochs"] == "4"
    assert "train.epochs" in caplog.text


def test_a_run_is_gone_on_with_by_its_id(work: Path) -> None:
    begun = Run.open(settings(work), "key", "name", {})
    begun.finish()
    run = Run.attach(begun.uri, begun.id)
    run.log_metrics({"test_auroc": 0.9})
    assert status(run) == "FINISHED", "what another step adds does not begin the training again"
    run.release()
    assert status(run) == "FINISHED"


def test_validations_of_a_run_are_counted(work: Path) -> None:
    first, second = (Run.open(settings(work), key, "name", {}) for key in ("a", "b"))
    assert [first.count_validation(), first.count_validation(), second.count_validation()] == [1, 2, 1]


def test_a_run_exists_until_it_is_deleted(work: Path) -> None:
    run = Run.open(settings(work), "key", "name", {})
    assert run_exists(run.uri, run.id)
    mlflow_client(run.uri).delete_run(run.id)
    assert not run_exists(run.uri, run.id)
    assert not run_exists(run.uri, "0" * 32)


# --- where, and how quietly


def test_the_uri(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert tracking_uri(settings(tmp_path)) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    assert tracking_uri(settings(tmp_path)) == "http://server:5000"
    assert tracking_uri(settings(tmp_path, "sqlite:////x/mlflow.db")) == "sqlite:////x/mlflow.db"


@pytest.mark.integration
def test_a_new_database_is_made_without_a_word(tmp_path: Path) -> None:
    program = (
        "import logging, sys; logging.basicConfig(level=logging.INFO)\n"
        "from pneumonia.config.schema import Config\n"
        "from pneumonia.tracking.run import Run\n"
        "run = Run.open(Config(work=sys.argv[1]), 'key', 'name', {})\n"
        "run.log_epochs([{'epoch': 1, 'val_loss': 0.5}])\n"
        "run.finish()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "new")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "new" / "mlflow.db").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new"]  # no mlruns, no second database
