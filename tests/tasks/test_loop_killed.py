"""A loop that is killed after each of its steps, by the next run goes on; two schedulers at once make one loop."""

from __future__ import annotations

import multiprocessing
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from pneumonia.config.schema import Config
from pneumonia.monitoring import loops
from pneumonia.monitoring.database import Database
from pneumonia.monitoring.events import count_events
from pneumonia.registry import models
from pneumonia.tracking.client import mlflow_client, tracking_uri
from pneumonia.tracking.run_tags import TRACE_TAG
from tests.support.killed_loop import STEPS, run
from tests.support.looping import NAME, RIGHT, draw, make_data, place_of_use, settings
from tests.support.steps import run as run_pipeline

pytestmark = [pytest.mark.integration, pytest.mark.long]


@pytest.fixture
def config(work: Path) -> Config:
    """A place whose stream has changed, and whose readers have said what it shows."""
    found = settings(work, make_data(work / "films", train=400), "monitoring.lease_seconds=1", margin=0.9)
    assert run_pipeline(found)[-1].promoted
    with place_of_use(found) as place:
        place.stream(*draw(7, 250, changed=True, side=RIGHT), readers=2)
    return found


@pytest.fixture(scope="module")
def processes() -> Any:
    """Processes that have loaded the libraries already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.killed_loop"])
    return context


def start(processes: Any, config: Config, holder: str, last: str = "") -> Any:
    process = processes.Process(target=run, args=(config.model_dump_json(), holder, last))
    process.start()
    return process


def check_one_loop(config: Config) -> loops.Loop:
    """One loop, one training, one new version, one promotion."""
    database, uri = Database.of(config), tracking_uri(config)
    (loop,) = loops.last_loops(database, NAME, 10)
    assert count_events(database) == 250
    database.close()
    assert (loop.outcome, loop.new_version) == ("promoted", "2"), loop.words
    client = mlflow_client(uri)
    experiment = client.get_experiment_by_name(config.tracking.experiment)
    assert experiment is not None
    traced = client.search_runs([experiment.experiment_id], f"tags.`{TRACE_TAG}` = '{loop.trace_id}'")
    assert len(traced) == 1
    assert len(models.versions(uri, NAME)) == 2
    assert [move.to_version for move in models.history(uri, NAME)] == ["1", "2"]
    return loop


@pytest.mark.parametrize(
    "after", [pytest.param(("decide_action", "train_model", "promote_model"), id="three"),
              pytest.param(STEPS, id="each", marks=pytest.mark.nightly)],
)  # fmt: skip
def test_killed_after_its_steps_it_ends_in_one_retraining_and_one_promotion(
    config: Config, processes: Any, after: tuple[str, ...]
) -> None:
    for number, step in enumerate(after):
        process = start(processes, config, f"run {number}", step)
        process.join(120)
        assert process.exitcode == -signal.SIGKILL, step
        time.sleep(1.1)  # until its lease has expired
    process = start(processes, config, "the last")
    process.join(120)
    assert process.exitcode == 0
    assert check_one_loop(config).taken_over == len(set(after) - {"detect_drift", "finish_loop"})


def test_two_schedulers_at_once_make_one_loop(config: Config, processes: Any) -> None:
    patient = config.model_copy(update={"monitoring": config.monitoring.model_copy(update={"lease_seconds": 600.0})})
    both = [start(processes, patient, f"scheduler {number}") for number in range(2)]
    for process in both:
        process.join(240)
        assert process.exitcode == 0
    assert check_one_loop(config).taken_over == 0
