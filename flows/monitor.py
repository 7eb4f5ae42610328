"""The loop as a Prefect flow: detect_drift, decide_action, and where that says so a retraining or a recalibration.

python flows/monitor.py --help
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `python flows/monitor.py` puts flows/ there alone

from flows.defaults import set_defaults
from flows.heartbeat import Heartbeat
from flows.supervisor import ready, refuse_launcher, supervise
from pneumonia.environment import prepare as prepare_environment

set_defaults()
if __name__ == "__main__":  # before the libraries, which take seconds to load
    prepare_environment()
    refuse_launcher()
    supervise()
    alive = Heartbeat("loading the libraries")
    alive.start()
    from flows import prefect_server

    prefect_server.load()

import typer
from prefect import flow, get_run_logger, runtime
from prefect.artifacts import create_markdown_artifact

import tasks.decide_action as decide
import tasks.detect_drift as detect
import tasks.finish_loop as finish
import tasks.ingest_feedback as ingest
import tasks.recalibrate_model as recalibrating
from flows.options import ConfigFile, Settings, resolved
from flows.parameters import guarded
from flows.pipeline import pipeline, step
from flows.progress import reported
from flows.terminal import check_servers, failures
from pneumonia.config.schema import Config
from pneumonia.monitoring import loops
from pneumonia.monitoring.database import Database
from pneumonia.records.loop import Decision, DriftCheck, LoopResult
from pneumonia.registry.reader import names_to_serve


@step("detect_drift")
def detect_drift(config: Config, trigger: str) -> DriftCheck:
    tags = {"prefect.flow_run_id": str(runtime.flow_run.id), "trigger": trigger or "schedule"}
    with reported("detect_drift") as progress:
        check = detect.detect_drift(config, progress, tags)
    if check.report is not None:
        page = Path(check.report).read_text(encoding="utf-8")
        create_markdown_artifact(page, key="drift", description=check.words)
    return check


@step("decide_action")
def decide_action(check: DriftCheck, config: Config) -> Decision:
    with reported("decide_action") as progress:
        return decide.decide_action(check, config, f"prefect {runtime.flow_run.id}", progress=progress)


@step("ingest_feedback")
def ingest_feedback(decision: Decision) -> Decision:
    with reported("ingest_feedback") as progress:
        return ingest.ingest_feedback(decision, progress)


@step("recalibrate_model")
def recalibrate_model(decision: Decision, config: Config) -> Decision:
    with reported("recalibrate_model") as progress:
        return recalibrating.recalibrate_model(decision, config, progress)


@step("notify")
def notify(decision: Decision) -> None:
    get_run_logger().warning(decision.reason)
    create_markdown_artifact(decision.reason, key="notice", description="A person is to look at this")


@step("finish_loop")
def finish_loop(decision: Decision, config: Config) -> LoopResult:
    with reported("finish_loop") as progress:
        return finish.finish_loop(decision, config, progress)


@guarded
@flow(name="pneumonia-monitor", persist_result=False)
def monitor(config: Config, trigger: str = "") -> tuple[DriftCheck, Decision, LoopResult | None]:
    """Look at the champion's stream, and do what follows from it; nothing is promoted without the gate.

    Args:
        config: the whole configuration; the champion's own settings are used for a retraining.
        trigger: what has started this run, such as an alert; empty for the schedule.
    """
    check = detect_drift(config, trigger)
    decision = decide_action(check, config)
    if decision.action == "notify":
        notify(decision)
    if decision.trace_id is None:
        return check, decision, None
    database = Database.of(config)
    try:
        with loops.held(database, decision.trace_id, decision.holder, config.monitoring.lease_seconds):
            return check, decision, _loop(decision, config)
    finally:
        database.close()


def _loop(decision: Decision, config: Config) -> LoopResult:
    try:
        changed = ingest_feedback(decision) if decision.action == "retrain" else recalibrate_model(decision, config)
        settings = Config.model_validate(changed.settings)
        pipeline(settings, trace=decision.trace_id, approval=decision.approval)
    except Exception:  # the loop ends, and says that it has failed
        get_run_logger().exception("loop %s has failed", decision.trace_id)
        result: LoopResult = finish_loop(decision, config)
        if result.outcome == "promoted":  # by an earlier run, which was killed afterwards
            return result
        raise
    ended: LoopResult = finish_loop(decision, config)
    return ended


def main(
    profile: Annotated[str, typer.Option(help="Profile whose registry and work folder are used")] = "fast",
    settings: Settings = None,
    file: ConfigFile = None,
    trigger: Annotated[str, typer.Option(help="what has started this run, for its record")] = "command line",
) -> None:
    """Look at the champion's stream for drift, and do what follows from it. Not a medical device."""
    with failures():
        config = resolved(profile, file, settings)
        print(f"Watching the champion of {', '.join(names_to_serve(config))}, the first that there is", flush=True)
        check_servers(config)
        check, decision, result = monitor(config, trigger)
        print(f"drift    {check.words}")
        print(f"action   {decision.action}: {decision.reason}")
        if check.report is not None:
            print(f"report   {check.report}")
        if result is not None:
            print(f"loop     {result.trace_id}: {result.outcome}, {result.words}")


if __name__ == "__main__":
    ready()
    alive.say("starting the flow")
    try:
        typer.run(main)
    finally:
        alive.stop()
