"""The loop's steps in a process that ends itself with SIGKILL after one of them."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Iterator

from pneumonia.config.schema import Config
from pneumonia.tracking.run_tags import TRACE_TAG
from tasks.build_dossier import build_dossier
from tasks.decide_action import decide_action
from tasks.detect_drift import detect_drift
from tasks.export_model import export_model
from tasks.finish_loop import finish_loop
from tasks.ingest_feedback import ingest_feedback
from tasks.prepare_data import prepare_data
from tasks.promote_model import promote_model
from tasks.train_model import train_model
from tasks.validate_model import validate_model

STEPS = (
    "detect_drift", "decide_action", "ingest_feedback", "prepare_data", "train_model", "export_model", "validate_model",
    "build_dossier", "promote_model", "finish_loop",
)  # fmt: skip


def steps(config: Config, holder: str) -> Iterator[str]:
    """Run the loop as a flow does; yield each step's name after it."""
    check = detect_drift(config)
    yield "detect_drift"
    decision = decide_action(check, config, holder)
    yield "decide_action"
    if decision.trace_id is None:
        return
    changed = ingest_feedback(decision)
    yield "ingest_feedback"
    settings = Config.model_validate(changed.settings)
    images = prepare_data(settings)
    yield "prepare_data"
    trained = train_model(images, settings, tags={TRACE_TAG: decision.trace_id})
    yield "train_model"
    graphs = export_model(images, trained, settings)
    yield "export_model"
    validation = validate_model(images, trained, graphs, settings)
    yield "validate_model"
    built = build_dossier(images, trained, graphs, validation, settings)
    yield "build_dossier"
    promote_model(trained, graphs, validation, built, settings)
    yield "promote_model"
    finish_loop(decision, config)
    yield "finish_loop"


def run(document: str, holder: str, last: str) -> None:
    """Run the loop and die after a step; it ends normally where there is no such step."""
    warnings.simplefilter("ignore")
    for step in steps(Config.model_validate_json(document), holder):
        if step == last:
            os.kill(os.getpid(), signal.SIGKILL)
