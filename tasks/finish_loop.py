"""Last step of the loop: write down what came of it, by the tag that the promotion has left on the run."""

from __future__ import annotations

import logging

from pneumonia.config.schema import Config
from pneumonia.monitoring import loops
from pneumonia.monitoring.database import Database
from pneumonia.monitoring.loops import Loop
from pneumonia.progress import Progress, silent
from pneumonia.records.loop import Decision, LoopResult
from pneumonia.records.steps import Promotion
from pneumonia.tracking.run_tags import PROMOTION_TAG, TRACE_TAG, find_tag

NOTHING = "nothing came to a promotion: a step has failed, or a person has rejected the model; the run's log says which"
SAME = "nothing was trained: the data version holds nothing that the champion was not trained on"
log = logging.getLogger(__name__)


def finish_loop(decision: Decision, config: Config, progress: Progress = silent) -> LoopResult:
    """End the loop of a decision; a second call returns the same.

    Raises:
        MonitoringError: the database is away.
        TrackingError: the tracking server is away.
    """
    if decision.trace_id is None:
        raise ValueError("this decision holds no loop")
    tagged = find_tag(config, TRACE_TAG, decision.trace_id, PROMOTION_TAG)
    database = Database.of(config)
    try:
        loop = _finish(database, decision.trace_id, Promotion.model_validate_json(tagged) if tagged else None)
    finally:
        database.close()
    found = LoopResult(
        trace_id=loop.trace_id, outcome=loop.outcome or "failed", words=loop.words, new_version=loop.new_version
    )
    log.info("loop %s: %s, %s", found.trace_id, found.outcome, found.words)
    progress(1.0, 1.0, f"{found.outcome}: {found.words}")
    return found


def _finish(database: Database, trace: str, promotion: Promotion | None) -> Loop:
    if promotion is None:
        return loops.finish(database, trace, "failed", NOTHING)
    begun = loops.find_loop(database, trace)
    if begun is not None and promotion.version == begun.version:  # the champion itself, whose training was found again
        return loops.finish(database, trace, loops.REFUSED, SAME)
    outcome = loops.PROMOTED if promotion.promoted else loops.REFUSED
    return loops.finish(database, trace, outcome, promotion.reason, promotion.version)
