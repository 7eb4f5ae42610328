"""A stream of events with a verdict, loops and feedback, stored as a service and the steps would."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime
from pathlib import Path

from pneumonia.config.schema import Config
from pneumonia.imaging.image_statistics import STATISTICS
from pneumonia.monitoring import loops, verdicts
from pneumonia.monitoring.database import Database
from pneumonia.monitoring.events import Event, add_events
from pneumonia.monitoring.feedback import give_feedback
from pneumonia.monitoring.kinds import ADVICE
from pneumonia.records.drift import DriftTest, DriftVerdict, Kind, StatisticShift
from pneumonia.records.evaluation import Metric
from tests.support.serving import NAME

IMAGES, REFUSED = 40, 4


def event(number: int, now: float) -> Event:
    """One every twelve minutes, the newest now; every tenth is refused."""
    refused = number % 10 == 9
    probability = (number % 20) / 20
    return Event(
        event_id=f"{number:032x}",
        at=now - 720 * (IMAGES - number),
        request_id=f"r-{number}",
        position=0,
        name=NAME,
        version="1",
        model_digest="0" * 64,
        precision="fp32",
        threshold=0.5,
        code="not_a_radiograph" if refused else "",
        familiar=number % 8 != 0,
        percentile=50.0,
        probability=None if refused else probability,
        margin=None if refused else probability - 0.5,
        decision=None if refused else "PNEUMONIA" if probability >= 0.5 else "NORMAL",
        checks={},
        statistics=None,
        embedding=None,
        study=None,
        patient=None,
        image=None,
    )


def verdict(at: float, kind: Kind, score: float, version: str = "1") -> DriftVerdict:
    """A verdict with everything that one can hold."""
    when = datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
    metric = Metric(value=0.71, low=0.66, high=0.77)
    named = ("probability", "embedding", "statistics", "foreign")
    tests = tuple(
        DriftTest(
            name=name,  # type: ignore[arg-type]
            images=size,
            statistic=0.31,
            limit=0.2,
            score=score / (1 + place) * size / 250,
            p_value=None if name == "embedding" else 0.0004,
            low=0.25 if name == "embedding" else None,
            high=0.4 if name == "embedding" else None,
            words="",
        )
        for size in (100, 250)
        for place, name in enumerate(named)
    )
    shifts = tuple(
        StatisticShift(name=name, ks=0.4, score=1.5 - place / 20, reference_median=-1.2, window_median=-0.7)
        for place, name in enumerate(STATISTICS)
    )
    return DriftVerdict(
        name=NAME, version=version, model_digest="0" * 64, checked_at=when, since=when, until=when, images=IMAGES,
        refused=REFUSED, first_event="a", last_event="b", alarm=score >= 1, kind=kind, advice=ADVICE[kind], score=score,
        budget=1.0, tests=tests, shifts=shifts, focus=40, reference_prevalence=0.62,
        prevalence=Metric(value=0.35, low=0.22, high=0.47), estimated={"accuracy": metric, "auroc": metric},
        expected={"accuracy": Metric(value=0.9, low=0.85, high=0.95), "auroc": Metric(value=0.7, low=0.6, high=0.8)},
        measured={"accuracy": metric}, labels=12,
    )  # fmt: skip


def fill(work: Path) -> str:
    """Store all of it in the database of a work folder; return the trace id of the loop that is running."""
    database, now = Database.of(Config(work=str(work))), time.time()
    add_events(database, [event(number, now) for number in range(IMAGES)])
    for ago, kind, score in ((7200, "none", 0.4), (3600, "none", 0.7), (60, "acquisition", 2.4)):
        found = verdict(now - ago, kind, score)  # type: ignore[arg-type]
        verdicts.store_verdict(database, hashlib.sha256(found.checked_at.encode()).hexdigest(), found)
    trace = ""
    for number, outcome in enumerate(("promoted", "refused", None)):
        wish = loops.Wish(NAME, str(number), "acquisition", "retrain", f"key-{number}", "run")
        claim = loops.begin(database, wish, 600, -9000, now - 5000 + number)
        assert claim.loop is not None
        trace = claim.loop.trace_id
        if outcome:
            loops.finish(database, trace, outcome, "sensitivity is no better", "2" if outcome == "promoted" else None)  # type: ignore[arg-type]
    for reader in ("first", "second"):
        give_feedback(database, f"{0:032x}", reader, "disagree")
    give_feedback(database, f"{1:032x}", "first", "unsure")
    database.close()
    return trace
