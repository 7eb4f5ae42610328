"""What breaks a run: parts that are killed or away, wrong input, a full volume. Nothing is lost, nothing doubled."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.deployments.stack import FAST, SMALL, Stack, eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(autouse=True)
def _whole(stack: Stack) -> Iterator[None]:
    """Leave the stack whole and idle, whatever a test has done to it."""
    yield
    stack.compose("up", "--detach", "--no-build", "--wait", "--wait-timeout", "240", timeout=300)
    for run in stack.airflow("GET", f"dags/{FAST}/dagRuns", limit=100)["dag_runs"]:
        if run["state"] in ("running", "queued"):
            stack.airflow("PATCH", f"dags/{FAST}/dagRuns/{run['dag_run_id']}", {"state": "failed"})


def longer(seed: int, **settings: Any) -> dict[str, Any]:
    """Return the settings of a training that is long enough to be interrupted: about half a minute, eight epochs."""
    return {**SMALL, "train.epochs": 8, "phantom.train": 400, "train.seed": seed, **settings}


def in_epoch(stack: Stack, run: str, epoch: int, attempt: int = 1) -> None:
    """Wait until the run's training is in an epoch, as its log says."""

    def there() -> bool:
        task = stack.tasks(run)["train_model"]
        assert task["state"] not in ("failed", "upstream_failed"), stack.log(run, "train_model", attempt)[-2000:]
        return task["try_number"] >= attempt and f"epoch {epoch}/8" in stack.log(run, "train_model", attempt)

    eventually(f"epoch {epoch}", there, 600)


def check_whole(stack: Stack, run: str, seed: int) -> dict[str, Any]:
    """See that the training ended in one MLflow run with each epoch once, and in one version of the model."""
    trained: dict[str, Any] = stack.xcom(run, "train_model", "trained")
    (only,) = stack.mlflow_runs(trained["key"])
    assert only["info"]["run_id"] == trained["run_id"]
    assert only["info"]["status"] == "FINISHED"
    for metric in ("epoch", "train_loss", "val_loss", "auroc"):
        assert [step for step, _ in stack.history(trained["run_id"], metric)] == list(range(1, 9)), metric
    assert [version["run_id"] for version in stack.versions()].count(trained["run_id"]) == 1
    parameters = {parameter["key"]: parameter["value"] for parameter in only["data"]["params"]}
    assert parameters["train.seed"] == str(seed)
    return trained


def last_words(stack: Stack, run: str, task: str, attempt: int = 1) -> str:
    """Return the last line of a task's log."""
    lines = [line for line in stack.log(run, task, attempt).splitlines() if line.strip() and "::" not in line]
    return lines[-1]


def training_processes(stack: Stack) -> int:
    listing = "import glob; print(*(open(p, 'rb').read() for p in glob.glob('/proc/[0-9]*/cmdline')), sep='\\n')"
    found = stack.compose("exec", "-T", "airflow-scheduler", "python", "-c", listing).splitlines()
    return sum("/opt/pneumonia/bin/python" in line for line in found)


@pytest.fixture(scope="module")
def undisturbed(stack: Stack) -> dict[str, Any]:
    """The training of seed 20, by a run that nothing befell."""
    run = stack.trigger(longer(20))
    assert stack.finished(run) == "success", stack.log(run, "train_model")[-2000:]
    return check_whole(stack, run, 20)


def test_the_scheduler_is_killed_in_the_middle_of_the_training(stack: Stack) -> None:
    run = stack.trigger(longer(21))
    in_epoch(stack, run, 3)
    stack.compose("kill", "airflow-scheduler")
    stack.compose("start", "airflow-scheduler")
    assert stack.finished(run) == "success"
    assert stack.tasks(run)["train_model"]["try_number"] == 2
    assert "epoch 1/8" not in stack.log(run, "train_model", 2)
    check_whole(stack, run, 21)


def test_stopping_the_run_stops_the_training_and_the_next_run_goes_on(
    stack: Stack, undisturbed: dict[str, Any]
) -> None:
    conf = longer(20, fresh=True)
    run = stack.trigger(conf)
    in_epoch(stack, run, 3)
    assert training_processes(stack) > 0
    stack.airflow("PATCH", f"dags/{FAST}/dagRuns/{run}", {"state": "failed"})
    eventually("the end of the training's process", lambda: training_processes(stack) == 0, 90)
    (stopped,) = (one for one in stack.mlflow_runs(undisturbed["key"]) if one["info"]["status"] != "FINISHED")
    assert stopped["info"]["status"] == "KILLED"
    again = stack.trigger(longer(20))
    assert stack.finished(again) == "success"
    assert "epoch 1/8" not in stack.log(again, "train_model")
    trained = stack.xcom(again, "train_model", "trained")
    assert trained["run_id"] == stopped["info"]["run_id"]
    assert trained["weights_digest"] == undisturbed["weights_digest"]


def test_mlflow_is_away_for_a_minute_while_it_trains(stack: Stack) -> None:
    run = stack.trigger(longer(22, **{"train.epochs": 8, "phantom.train": 1200}))
    in_epoch(stack, run, 2)
    with away(stack, "mlflow", 60):
        pass
    assert stack.finished(run) == "success"
    assert stack.tasks(run)["train_model"]["try_number"] == 1
    check_whole(stack, run, 22)


def test_mlflow_is_away_when_the_task_starts(stack: Stack) -> None:
    stack.compose("stop", "mlflow")
    run = stack.trigger({**SMALL, "train.seed": 23})
    eventually("the retry", lambda: stack.tasks(run)["train_model"]["state"] == "up_for_retry", 600)
    words = last_words(stack, run, "train_model")
    assert words.startswith("train_model stopped, and will be tried again: http://mlflow:5000")
    stack.compose("start", "mlflow")
    assert stack.finished(run) == "success"
    assert len(stack.mlflow_runs(stack.xcom(run, "train_model", "trained")["key"])) == 1


def test_postgres_is_restarted_in_the_middle_of_the_training(stack: Stack) -> None:
    run = stack.trigger(longer(24))
    in_epoch(stack, run, 3)
    stack.compose("restart", "postgres")
    assert stack.finished(run) == "success"
    check_whole(stack, run, 24)


@pytest.mark.parametrize(
    ("conf", "words"),
    [
        ({"data.root": "/srv/pneumonia/data/nowhere"}, "/srv/pneumonia/data/nowhere"),
        ({**SMALL, "model.name": "pneumonia-resnet18"}, "a name for them ends in -phantom"),
    ],
)
def test_wrong_input_ends_at_once_with_one_readable_line(stack: Stack, conf: dict[str, Any], words: str) -> None:
    before = len(stack.versions())
    run = stack.trigger(conf)
    assert stack.finished(run) == "failed"
    task = stack.tasks(run)["prepare_data"]
    assert (task["state"], task["try_number"]) == ("failed", 1)
    line = last_words(stack, run, "prepare_data")
    assert line.startswith("prepare_data stopped: ")
    assert words in line
    assert len(stack.versions()) == before


def test_the_artifact_volume_is_full(stack: Stack, tmp_path: Path) -> None:
    """The server cannot keep the weights: the task says so, tries again, and with room there is one of everything."""
    name = "full-volume"
    experiment = stack.mlflow("POST", "experiments/create", name=name)["experiment_id"]
    with small_volume(stack, tmp_path, experiment):
        run = stack.trigger({**SMALL, "train.seed": 25, "tracking.experiment": name})
        eventually("the retry", lambda: stack.tasks(run)["train_model"]["state"] == "up_for_retry", 600)
        words = last_words(stack, run, "train_model")
        assert re.search(
            r"train_model stopped, and will be tried again: http://mlflow:5000: could not keep .*model\.safetensors",
            words,
        ), words
        assert stack.versions() == [one for one in stack.versions() if one["run_id"]]
    assert stack.finished(run) == "success"
    trained = stack.xcom(run, "train_model", "trained")
    assert len(stack.mlflow_runs(trained["key"], name)) == 1
    assert [version["run_id"] for version in stack.versions()].count(trained["run_id"]) == 1


@contextmanager
def away(stack: Stack, service: str, seconds: float) -> Iterator[None]:
    """Stop a part for a while."""
    began = time.monotonic()
    stack.compose("kill", service)
    try:
        yield
        time.sleep(max(0.0, seconds - (time.monotonic() - began)))
    finally:
        stack.compose("start", service)


@contextmanager
def small_volume(stack: Stack, folder: Path, experiment: str) -> Iterator[None]:
    """Give an experiment's artifacts a file system of 8 MB."""
    override = folder / "small.yml"
    override.write_text(
        f'services:\n  mlflow:\n    tmpfs: ["/tmp", "/var/lib/mlflow/{experiment}:size=8m,uid=1000,gid=1000"]\n'
    )
    # the mount would make the folder, and make it root's
    stack.compose("exec", "-T", "mlflow", "mkdir", "-p", f"/var/lib/mlflow/{experiment}")
    up = ("up", "--detach", "--no-deps", "--no-build", "--wait", "mlflow")
    stack.compose("--file", "docker-compose.yml", "--file", str(override), *up)
    try:
        yield
    finally:
        stack.compose(*up)
