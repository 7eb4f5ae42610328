"""The whole loop in the booted stack: the service records, two readers say, Airflow retrains, the service follows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pneumonia.config.schema import CLASSES
from tests.deployments.stack import MODEL, Stack
from tests.deployments.stack_runs import SMALL
from tests.support.looping import draw

pytestmark = [pytest.mark.stack, pytest.mark.long, pytest.mark.timeout(900)]
MONITOR = "pneumonia_monitor"
LOOP: dict[str, Any] = {
    **SMALL, "phantom.train": 400, "train.epochs": 6, "train.seed": 77, "data.validation_fraction": 0.4,
    "data.patient_fraction": 1.0, "registry.name": MODEL,
}  # fmt: skip
"""Settings of a champion whose reference is large enough to notice drift; the gate of a demo lets it pass."""


# the pipeline's steps in one process of the library's Python, which is sooner than a run of the DAG
STEPS = """
import json, sys
from pneumonia.config.resolve import resolve
from tasks.build_dossier import build_dossier
from tasks.export_model import export_model
from tasks.prepare_data import prepare_data
from tasks.promote_model import promote_model
from tasks.train_model import train_model
from tasks.validate_model import validate_model
config = resolve("fast", assignments=[f"{name}={value}" for name, value in json.loads(sys.argv[1]).items()])
images = prepare_data(config)
trained = train_model(images, config)
graphs = export_model(images, trained, config)
validation = validate_model(images, trained, graphs, config)
built = build_dossier(images, trained, graphs, validation, config)
print(promote_model(trained, graphs, validation, built, config).version)
"""


def predict(stack: Stack, content: bytes) -> dict[str, Any]:
    answer = stack.service("POST", "v1/predict", data=content)
    found: dict[str, Any] = answer.json()
    return dict(found["results"][0]) if answer.status_code == 200 else found


def say(stack: Stack, answer: dict[str, Any], label: int) -> None:
    """Both readers say what an image shows."""
    truth = CLASSES[label]
    verdict = "agree" if answer.get("decision") == truth else "disagree"
    for key in stack.reader_keys():
        words = {"event": answer["event"], "verdict": verdict, "label": truth}
        stack.service("POST", "v1/feedback", json=words, as_key=key).raise_for_status()


def look(stack: Stack) -> tuple[str, dict[str, Any]]:
    """Run the monitor, and return its run and what it has decided."""
    run = stack.trigger({"trigger": "a test"}, dag=MONITOR)
    assert stack.finished(run, dag=MONITOR) == "success", stack.tasks(run, MONITOR)
    decision: dict[str, Any] = stack.xcom(run, "decide_action", dag=MONITOR)
    return run, decision


def test_a_stream_changes_and_the_service_answers_with_a_model_that_knows_it(stack: Stack) -> None:
    python = ("exec", "-T", "airflow-scheduler", "/opt/pneumonia/bin/python", "-c", STEPS, json.dumps(LOOP))
    old = stack.compose(*python, timeout=600).split()[-1]
    stack.serves(old)

    for content, label in zip(*draw(2, 160, changed=True, side=None), strict=True):
        say(stack, predict(stack, content), label)
    run, decision = look(stack)
    assert decision["action"] == "retrain", decision["reason"]
    result = stack.xcom(run, "finish_loop", dag=MONITOR)
    assert (result["outcome"], result["trace_id"]) == ("promoted", decision["trace_id"]), result
    assert int(result["new_version"]) > int(old)
    new = stack.champion()
    assert new["version"] == result["new_version"]
    data = stack.mlflow("GET", "runs/get", run_id=new["run_id"])["run"]["data"]
    tags = {tag["key"]: tag["value"] for tag in data["tags"]}
    assert tags["pneumonia.trace_id"] == decision["trace_id"]
    assert decision["trace_id"] in stack.log(run, "decide_action", dag=MONITOR)

    stack.serves(result["new_version"])
    predict(stack, draw(3, 1, changed=True, side=None)[0][0])
    shown = stack.service("GET", "v1/monitor").json()
    assert [(loop["trace_id"], loop["outcome"]) for loop in shown["loops"]] == [(decision["trace_id"], "promoted")]
    found = stack.compose("exec", "-T", "airflow-scheduler", "find", "/srv/pneumonia/ingested", "-name", "site_*")
    assert len(found.splitlines()) >= 60
    assert "/test/" not in found
