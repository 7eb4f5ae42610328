"""Second step of the loop: decide what follows from a look at drift, and take the one loop that may run."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

from pneumonia.config.schema import CLASSES, NOT_OF_A_RUN, PHANTOM_ROOT, Config
from pneumonia.monitoring import feedback, ingestion, loops
from pneumonia.monitoring.database import Database
from pneumonia.monitoring.loops import Action, Loop, Wish
from pneumonia.progress import Progress, silent
from pneumonia.records.drift import DriftVerdict, Kind
from pneumonia.records.export import read_model_record
from pneumonia.records.loop import Decision, DriftCheck
from pneumonia.registry.reader import open_reader
from pneumonia.tracking.client import tracking_uri
from pneumonia.tracking.run_tags import TRACE_TAG, tag_run
from tasks.detect_drift import describe

WHAT_FOLLOWS: dict[Kind, Action | None] = {
    "acquisition": "retrain",
    "case mix": "retrain",
    "prevalence": "recalibrate",
    "foreign pictures": None,
}
"""What a kind of change is answered with; pictures that are no chest radiographs are refused, and nothing is learnt."""
HOUR = 3600
log = logging.getLogger(__name__)


def decide_action(
    check: DriftCheck, config: Config, holder: str, lease: float | None = None, progress: Progress = silent
) -> Decision:
    """Decide whether nothing, a person, a retraining or a recalibration follows; at most one loop a model is open.

    A loop whose holder is gone is taken over, whatever the look at drift has found.

    Args:
        check: what was found.
        config: the budget of labels, the cool-down and the lease.
        holder: name of the orchestrator's run: the same for a retry, another for every other run.
        lease: seconds after which a holder that gives no sign counts as gone; by default as configured.
        progress: called with the share that is done.

    Raises:
        MonitoringError: the database is away.
        TrackingError: the registry or the tracking server is away.
    """
    database = Database.of(config)
    try:
        found = _decide(database, check, config, holder, config.monitoring.lease_seconds if lease is None else lease)
    finally:
        database.close()
    if found.trace_id is not None and check.run_id is not None:  # whose tag `trigger` names the alert
        tag_run(tracking_uri(config), check.run_id, {TRACE_TAG: found.trace_id})
    trace = f" (trace {found.trace_id})" if found.trace_id else ""
    log.info("%s: %s%s", found.action, found.reason, trace)
    progress(1.0, 1.0, f"{found.action}: {found.reason}{trace}")
    return found


def _decide(database: Database, check: DriftCheck, config: Config, holder: str, lease: float) -> Decision:
    if check.name is None:
        return Decision(action="none", reason=check.words)
    named = {"name": check.name, "version": check.version}
    if (there := loops.take_over(database, check.name, holder, lease)) is not None and there.loop is not None:
        if there.status == "continued":
            return _working(config, there.loop, holder, "a loop that its holder has left is gone on with")
        return Decision(action="none", reason=f"loop {there.loop.trace_id} is running", **named)
    verdict = check.verdict
    if verdict is None or not verdict.alarm:
        return Decision(action="none", reason=check.words, **named)
    if (known := loops.find_loop(database, loops.trace_id(check.key))) is not None:  # the same alarm, delivered twice
        reason = f"{describe(verdict)}; loop {known.trace_id} was about this alarm: {known.outcome}, {known.words}"
        return Decision(action="notify", reason=reason, **named)
    action = WHAT_FOLLOWS.get(verdict.kind)
    if action is None:
        return Decision(action="notify", reason=f"{describe(verdict)}; {verdict.advice}", **named)
    if missing := _missing_labels(database, action, verdict, config):
        return Decision(action="notify", reason=f"{describe(verdict)}; {verdict.advice}; {missing}", **named)
    wish = Wish(check.name, str(check.version), verdict.kind, action, check.key, holder)
    claim = loops.begin(database, wish, lease, HOUR * config.monitoring.cooldown_hours)
    if claim.status == "begun" and claim.loop is not None:
        return _working(config, claim.loop, holder, describe(verdict))
    return Decision(action="notify", reason=f"{describe(verdict)}; no loop begins: {_why_not(claim)}", **named)


def _missing_labels(database: Database, action: Action, verdict: DriftVerdict, config: Config) -> str:
    """Return what is missing for an action, in words; empty where there is enough."""
    if action == "recalibrate":
        rows = feedback.settled(database, model_digest=verdict.model_digest)
        counts = Counter(str(row.label) for row in rows if row.margin is not None)
    else:
        settings = Config.model_validate(champion_settings(config))
        if settings.data.root == PHANTOM_ROOT and settings.monitoring.data_root == "auto":
            return (
                "phantoms are drawn into the work folder: name a folder for the data version, monitoring.data_root=DIR"
            )
        counts = ingestion.count_waiting(database, settings)
    least = config.monitoring.min_labels
    if min(counts[label] for label in CLASSES) >= least:
        return ""
    kept = "" if action == "recalibrate" else " with kept images (monitoring.keep_images) that it was not trained on"
    words = "a recalibration" if action == "recalibrate" else "a retraining"
    had = ", ".join(f"{counts[label]} {label}" for label in CLASSES)
    return f"{words} needs {least} settled labels of each class{kept}, and there are {had}"


def _working(config: Config, loop: Loop, holder: str, reason: str) -> Decision:
    settings = champion_settings(config)
    return Decision(
        action=loop.action,
        reason=reason,
        trace_id=loop.trace_id,
        holder=holder,
        name=loop.name,
        version=loop.version,
        profile=settings["profile"],
        settings=settings,
        approval=config.monitoring.approval,
        until=loop.at,
    )


def champion_settings(config: Config) -> dict[str, Any]:
    """Return the settings that the champion was made with, and the places of this configuration.

    Raises:
        PneumoniaError: the champion's record cannot be read.
    """
    reader = open_reader(config)
    champion = reader.champion()
    kept = config.model_dump(mode="json", include={*NOT_OF_A_RUN, "work", "tracking"})
    if champion is None:  # withdrawn in the meantime
        return config.model_dump(mode="json")
    record = read_model_record(reader.folder(champion))
    return Config.model_validate({**record.config, **kept}).model_dump(mode="json")


def _why_not(claim: loops.Claim) -> str:
    if claim.status == "cooling down":
        return "the last one has ended less than monitoring.cooldown_hours ago"
    trace = claim.loop.trace_id if claim.loop is not None else "another"
    return f"loop {trace} is running" if claim.status == "running" else f"loop {trace} was about this alarm"
