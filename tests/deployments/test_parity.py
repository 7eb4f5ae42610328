"""The Airflow DAG and the Prefect flow are the same pipeline."""

from __future__ import annotations

import errno
import inspect
import itertools
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from flows import pipeline as flow
from pneumonia.config.resolve import resolve
from pneumonia.config.schema import PROFILES
from tests.deployments.stack import DAGS

# One worker reads the DAG files, once.
pytestmark = pytest.mark.integration
STEPS = ("prepare_data", "train_model", "export_model", "validate_model", "build_dossier", "promote_model")


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that the DAGs' steps begin with, imported as they import it."""
    monkeypatch.syspath_prepend(str(DAGS))
    from pneumonia_airflow import child

    yield child
    for name in [name for name in sys.modules if name.startswith("pneumonia_airflow")]:
        del sys.modules[name]


class Recorder:
    """Stands for a step while the flow's own body is run: remembers whose results it was given."""

    def __init__(self, name: str, edges: set[tuple[str, str]]) -> None:
        self.name, self.edges = name, edges

    def with_options(self, **_: object) -> Recorder:
        return self

    def __call__(self, *arguments: object, **named: object) -> Recorder:
        given = [*arguments, *named.values()]
        self.edges |= {(one.name, self.name) for one in given if isinstance(one, Recorder)}
        return self

    def __iter__(self) -> Iterator[Recorder]:
        """Stand for each of the two documents that promote_model returns."""
        return iter((self, self))


@pytest.fixture
def flow_edges(monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, str]]:
    edges: set[tuple[str, str]] = set()
    for step in STEPS:
        monkeypatch.setattr(flow, step, Recorder(step, edges))
    flow.pipeline.fn(resolve("fast", environment={}))
    return edges


def step_edges(tasks: dict[str, Any]) -> set[tuple[str, str]]:
    """Return the edges between the steps; the way through the approval is an edge too."""
    edges = set()
    for name in STEPS:
        for below in tasks[name]["downstream"]:
            edges |= {(name, below)} if below in STEPS else {(name, next_) for next_ in tasks[below]["downstream"]}
    return edges


@pytest.mark.parametrize("profile", PROFILES)
def test_steps_and_edges(dags: dict[str, Any], flow_edges: set[tuple[str, str]], profile: str) -> None:
    tasks = dags[f"pneumonia_pipeline_{profile}"]["tasks"]
    assert set(tasks) - {"approve_promotion"} == {step for edge in flow_edges for step in edge} == set(STEPS)
    settings = {("prepare_data", step) for step in STEPS[1:]}  # the DAG's first step resolves them for all that follow
    assert step_edges(tasks) == flow_edges | settings
    assert set(itertools.pairwise(STEPS)) <= flow_edges


@pytest.mark.parametrize("profile", PROFILES)
def test_retries(dags: dict[str, Any], profile: str) -> None:
    for step in STEPS:
        task, other = dags[f"pneumonia_pipeline_{profile}"]["tasks"][step], getattr(flow, step)
        assert other.name == step
        assert task["retries"] == other.retries
        delays = [task["retry_seconds"] * task["backoff"] ** attempt for attempt in range(task["retries"])]
        assert delays == other.retry_delay_seconds
        assert task["policy"] == "WhereItHelps"


@pytest.mark.parametrize("profile", PROFILES)
def test_defaults(dags: dict[str, Any], child: Any, profile: str) -> None:
    form = {name: param["value"] for name, param in dags[f"pneumonia_pipeline_{profile}"]["params"].items()}
    resolved = resolve(profile, assignments=child.assignments(json.dumps(form), "null"), environment={})
    assert resolved == resolve(profile, environment={})
    assert form["fresh"] is inspect.signature(flow.pipeline.fn).parameters["fresh"].default


def test_the_same_errors_are_worth_another_try(child: Any) -> None:
    from pneumonia import errors

    class State:
        def __init__(self, error: BaseException) -> None:
            self.error = error

        def result(self) -> None:
            raise self.error

    found = [
        errors.TrackingError("no answer"),
        errors.TrackingError("login refused", permanent=True),
        errors.DataError("truncated"),
        errors.ConfigError("unknown key"),
        errors.PneumoniaError("anything"),
        errors.TrainingInterrupted("stopped"),
        KeyboardInterrupt(),
        ValueError("a mistake"),
        *(OSError(number, os.strerror(number)) for number in errno.errorcode),
    ]
    for error in found:
        again = errors.worth_retrying(error)
        assert (child.status(error) == child.TRY_AGAIN) is again, repr(error)
        assert flow.retry_helps(None, None, State(error)) is again, repr(error)
    assert 0 < sum(map(errors.worth_retrying, found)) < len(found)
