"""The cross-validation's Airflow DAG and its Prefect flow are the same."""

from __future__ import annotations

import inspect
import json
from itertools import pairwise
from typing import Any

import pytest

from flows import cross_validation as flow
from pneumonia.config.resolve import resolve
from pneumonia.errors import ConfigError
from tests.deployments.test_parity import child

# One worker reads the DAG files, once.
pytestmark = pytest.mark.integration
DAG = "pneumonia_cross_validation"
STEPS = ("plan_folds", "prepare_data", "train_model", "score_fold", "summarise_folds")
MAPPED = ("prepare_data", "train_model", "score_fold")
SEEDS, FOLDS = [0, 7], 3
__all__ = ["child"]  # a fixture


class Recorder:
    """Stands for a step while the flow's own body is run: remembers for which fold it was called, and with whose."""

    def __init__(self, name: str, calls: list[tuple[str, list[tuple[str, int]]]]) -> None:
        self.name, self.calls = name, calls

    def __call__(self, *arguments: Any, **_: Any) -> Any:
        number = sum(name == self.name for name, _ in self.calls)
        given = [one for argument in arguments for one in (argument if isinstance(argument, list) else [argument])]
        self.calls.append((self.name, [one for one in given if isinstance(one, tuple)]))
        if self.name == "plan_folds":
            return [(self.name, at) for at in range(len(SEEDS) * FOLDS)]
        return (self.name, number)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[tuple[str, int]]]]:
    found: list[tuple[str, list[tuple[str, int]]]] = []
    for step in STEPS:
        monkeypatch.setattr(flow, step, Recorder(step, found))
    flow.cross_validation.fn(resolve("fast", environment={}), SEEDS, FOLDS)
    return found


def test_the_same_steps_in_the_same_order_for_every_fold(dags: dict[str, Any], calls: list[Any]) -> None:
    count = len(SEEDS) * FOLDS
    for name in STEPS:
        times = sum(called == name for called, _ in calls)
        assert times == (count if name in MAPPED else 1)
        assert dags[DAG]["tasks"][name]["mapped"] is (name in MAPPED)
    assert list(dict.fromkeys(name for name, _ in calls)) == list(STEPS)
    tasks = dags[DAG]["tasks"]
    below = {name: tasks[name]["downstream"] for name in tasks}
    assert below.pop("collect") == ["summarise_folds"]
    below["score_fold"] = ["summarise_folds"] if below["score_fold"] == ["collect"] else below["score_fold"]
    assert below == {upper: [lower] for upper, lower in pairwise(STEPS)} | {"summarise_folds": []}


def test_each_step_has_the_documents_of_its_own_fold(calls: list[Any]) -> None:
    for place, (name, given) in enumerate(calls):
        if name not in MAPPED:
            continue
        number = sum(called == name for called, _ in calls[:place])
        assert given == [(step, number) for step in (*MAPPED[: MAPPED.index(name)], "plan_folds")]


def test_one_fold_at_a_time_in_the_python_of_the_library(dags: dict[str, Any]) -> None:
    for name in STEPS:
        task = dags[DAG]["tasks"][name]
        assert task["class"] == "_PythonExternalDecoratedOperator"
        assert f"from tasks.{name} import " in task["source"]
        assert task["inherits"] is False
        assert task["timeout"]
        assert task["policy"] == "WhereItHelps"
        assert task["at_a_time"] == (1 if name in MAPPED else None)


def test_both_try_again_alike(dags: dict[str, Any]) -> None:
    for name in STEPS:
        task, other = dags[DAG]["tasks"][name], getattr(flow, name)
        assert (other.name, task["retries"]) == (name, other.retries)


def test_a_run_starts_only_when_somebody_starts_it(dags: dict[str, Any]) -> None:
    dag = dags[DAG]
    assert (dag["schedule"], dag["catchup"], dag["max_active_runs"]) == (None, False, 1)
    assert "Not a medical device" in dag["doc"]


def test_the_form_sets_what_the_flow_takes_and_no_fold_of_its_own(dags: dict[str, Any], child: Any) -> None:
    form = {name: param["value"] for name, param in dags[DAG]["params"].items()}
    given = inspect.signature(flow.cross_validation.fn).parameters
    assert (form["folds"], tuple(form["seeds"])) == (given["folds"].default, given["seeds"].default)
    assert not {"data.folds", "data.fold", "data.split_seed", "train.seed", "approval", "trace"} & form.keys()
    for profile in ("fast", "full"):
        made = child.assignments(json.dumps(form | {"profile": profile}), "null", child.OWN_OF_FOLDS)
        assert resolve(profile, assignments=made, environment={}) == resolve(profile, environment={})
    sent = {"seeds": [1, 2], "folds": 3, "train": {"epochs": 2}}
    assert child.assignments(json.dumps(form | sent), json.dumps(sent), child.OWN_OF_FOLDS) == ["train.epochs=2"]
    with pytest.raises(ConfigError, match="profil: unknown key; did you mean profile"):
        child.assignments(json.dumps(form), json.dumps({"profil": "fast"}), child.OWN_OF_FOLDS)
