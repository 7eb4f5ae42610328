"""The loop's Airflow DAG and its Prefect flow are the same loop."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from flows import monitor as flow
from pneumonia.config.resolve import resolve
from pneumonia.records.loop import Decision, DriftCheck, LoopResult

# One worker reads the DAG files, once.
pytestmark = pytest.mark.integration
DAG = "pneumonia_monitor"
LIBRARY = ("detect_drift", "decide_action", "ingest_feedback", "recalibrate_model", "finish_loop")
ACTIONS = {
    "retrain": ["detect_drift", "decide_action", "ingest_feedback", "run_pipeline", "finish_loop"],
    "recalibrate": ["detect_drift", "decide_action", "recalibrate_model", "run_pipeline", "finish_loop"],
    "notify": ["detect_drift", "decide_action", "notify"],
    "none": ["detect_drift", "decide_action"],
}
SETTINGS = resolve("fast", environment={}).model_dump(mode="json")


def decision(action: str) -> Decision:
    trace = "a" * 32 if action in ("retrain", "recalibrate") else None
    return Decision.model_validate({"action": action, "reason": "r", "trace_id": trace, "settings": SETTINGS})


def called(monkeypatch: pytest.MonkeyPatch, action: str) -> tuple[list[str], dict[str, Any]]:
    """Return the steps that the flow calls, in order, and how it calls the pipeline."""
    order: list[str] = []
    given: dict[str, Any] = {}
    results: dict[str, Any] = {
        "detect_drift": DriftCheck(words="w"),
        "finish_loop": LoopResult(trace_id="a" * 32, outcome="promoted", words="w"),
    }

    def stub(name: str) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            order.append(name)
            if name == "run_pipeline":
                given.update(named)
            return results.get(name, decision(action))

        return call

    for name in (*LIBRARY, "notify"):
        monkeypatch.setattr(flow, name, stub(name))
    monkeypatch.setattr(flow, "pipeline", stub("run_pipeline"))

    monkeypatch.setattr(flow.loops, "held", lambda *_: contextlib.nullcontext())
    flow.monitor.fn(resolve("fast", environment={}))
    return order, given


def path_of(tasks: dict[str, Any], chosen: str | None) -> list[str]:
    """Return the tasks of a run of the DAG whose branch is this one."""
    found, waiting = [], ["detect_drift"]
    skipped = set(tasks["choose"]["downstream"]) - {chosen}
    while waiting:
        name = waiting.pop(0)
        if name in found or name in skipped or (name == "run_pipeline" and chosen in (None, "notify")):
            continue
        found.append(name)
        below = [chosen] if name == "choose" and chosen else [] if name == "choose" else tasks[name]["downstream"]
        waiting += [each for each in below if each not in ("ingest_feedback", "recalibrate_model", "notify")
                    or name == "choose"]  # fmt: skip
    return sorted(found, key=lambda name: (name == "finish_loop", found.index(name)))


@pytest.mark.parametrize("action", ACTIONS)
def test_both_do_the_same(dags: dict[str, Any], monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    order, given = called(monkeypatch, action)
    assert order == ACTIONS[action]
    chosen = {"retrain": "ingest_feedback", "recalibrate": "recalibrate_model", "notify": "notify"}.get(action)
    followed = [name for name in path_of(dags[DAG]["tasks"], chosen) if name != "choose"]
    if action in ("notify", "none"):  # the DAG's last task runs in any case, and says that there was no loop
        assert followed.pop() == "finish_loop"
    assert followed == order
    if action in ("retrain", "recalibrate"):
        assert given["trace"] == "a" * 32


def test_each_step_runs_its_own_function_in_the_python_of_the_library(dags: dict[str, Any]) -> None:
    tasks = dags[DAG]["tasks"]
    for step in LIBRARY:
        assert tasks[step]["class"] == "_PythonExternalDecoratedOperator"
        assert f"from tasks.{step} import " in tasks[step]["source"]
        assert tasks[step]["inherits"] is False
        assert tasks[step]["timeout"]
    assert tasks["run_pipeline"]["class"] == "TriggerDagRunOperator"


def test_it_looks_every_hour_and_goes_on_looking_while_a_loop_runs(dags: dict[str, Any]) -> None:
    dag = dags[DAG]
    assert (dag["schedule"], dag["catchup"], dag["max_active_runs"], dag["paused"]) == ("1:00:00", False, 2, False)
    assert "Not a medical device" in dag["doc"]


def test_both_try_again_alike(dags: dict[str, Any]) -> None:
    for step in LIBRARY:
        task, other = dags[DAG]["tasks"][step], getattr(flow, step)
        assert (other.name, task["retries"]) == (step, other.retries)
