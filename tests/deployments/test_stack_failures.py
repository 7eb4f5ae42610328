"""What breaks a run: parts that are killed or away, a full volume. Nothing is lost, nothing doubled.

Minutes of it, hence nightly; a killed scheduler and wrong input are also in test_stack.py.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.deployments.stack import FAST, Stack, eventually
from tests.deployments.stack_runs import LONGER, SMALL, check_whole, in_epoch

# One worker boots the stack, once.
pytestmark = [pytest.mark.stack, pytest.mark.nightly, pytest.mark.timeout(1500)]


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
    return {**LONGER, "train.seed": seed, **settings}


def training_processes(stack: Stack) -> int:
    listing = "import glob; print(*(open(p, 'rb').read() for p in glob.glob('/proc/[0-9]*/cmdline')), sep='\\n')"
    found = stack.compose("exec", "-T", "airflow-scheduler", "python", "-c", listing).splitlines()
    return sum("/opt/pneumonia/bin/python" in line for line in found)


@pytest.fixture(scope="module")
def undisturbed(stack: Stack) -> dict[str, Any]:
    """The training of seed 20, by a run that nothing befell."""
    run = stack.trigger(longer(20))
    assert stack.finished(run) == "success", stack.log(run, "train_model")[-2000:]
    return check_whole(stack, run, longer(20))


def test_the_scheduler_is_killed_in_the_middle_of_the_training(stack: Stack) -> None:
    run = stack.trigger(longer(21))
    in_epoch(stack, run, 3)
    stack.compose("kill", "airflow-scheduler")
    stack.compose("start", "airflow-scheduler")
    assert stack.finished(run) == "success"
    assert stack.tasks(run)["train_model"]["try_number"] == 2
    assert "epoch 1/8" not in stack.log(run, "train_model", 2)
    check_whole(stack, run, longer(21))


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
    run = stack.trigger(longer(22, **{"phantom.train": 1200}))
    in_epoch(stack, run, 2)
    with away(stack, "mlflow", 60):
        pass
    assert stack.finished(run) == "success"
    assert stack.tasks(run)["train_model"]["try_number"] == 1
    check_whole(stack, run, longer(22))


def test_mlflow_is_away_when_the_task_starts(stack: Stack) -> None:
    stack.compose("stop", "mlflow")
    run = stack.trigger({**SMALL, "train.seed": 23})
    eventually("the retry", lambda: stack.tasks(run)["train_model"]["state"] == "up_for_retry", 600)
    words = stack.last_words(run, "train_model")
    assert words.startswith("train_model stopped, and will be tried again: http://mlflow:5000")
    stack.compose("start", "mlflow")
    assert stack.finished(run) == "success"
    assert len(stack.mlflow_runs(stack.xcom(run, "train_model", "trained")["key"])) == 1


def test_postgres_is_restarted_in_the_middle_of_the_training(stack: Stack) -> None:
    run = stack.trigger(longer(24))
    in_epoch(stack, run, 3)
    stack.compose("restart", "postgres")
    assert stack.finished(run) == "success"
    check_whole(stack, run, longer(24))


def test_the_artifact_volume_is_full(stack: Stack, tmp_path: Path) -> None:
    """The server cannot keep the weights: the task says so, tries again, and with room there is one of everything."""
    name = "full-volume"
    experiment = stack.mlflow("POST", "experiments/create", name=name)["experiment_id"]
    with small_volume(stack, tmp_path, experiment):
        run = stack.trigger({**SMALL, "train.seed": 25, "tracking.experiment": name})
        eventually("the retry", lambda: stack.tasks(run)["train_model"]["state"] == "up_for_retry", 600)
        words = stack.last_words(run, "train_model")
        assert re.search(
            r"train_model stopped, and will be tried again: http://mlflow:5000: could not keep .*model\.safetensors",
            words,
        ), words
        assert stack.versions() == [one for one in stack.versions() if one["run_id"]]
    assert stack.finished(run) == "success"
    trained = stack.xcom(run, "train_model", "trained")
    assert len(stack.mlflow_runs(trained["key"], name)) == 1
    assert [version["run_id"] for version in stack.versions()].count(trained["run_id"]) == 1


def test_mlflow_is_away_and_the_service_goes_on_and_starts_from_its_volume(stack: Stack) -> None:
    run = stack.trigger({**SMALL, "train.seed": 26})
    assert stack.finished(run) == "success"
    version = stack.champion()["version"]
    stack.serves(version)
    with away(stack, "mlflow", 0):
        stack.serves(version)
        stack.compose("restart", "serving")
        stack.serves(version)
    stack.serves(version)


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
