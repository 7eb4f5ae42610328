"""Show what is recorded, what drift was found and what the loop does, for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Info

from pneumonia.monitoring.loops import Loop
from pneumonia.records.drift import DriftVerdict, Kind
from pneumonia.records.evaluation import Metric
from pneumonia.records.feedback import Said, State

LOSSES = ("spool_full", "disk", "failed")
BOUNDS = ("value", "low", "high")


class MonitoringMetrics:
    """The metrics of monitoring, in the registry of a service; `pneumonia.monitoring.recorder` reports to them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, words: str, labels: tuple[str, ...] = ()) -> Gauge:
            return Gauge(f"pneumonia_{name}", words, labels, registry=registry)

        self.events = Counter(
            "pneumonia_events_recorded_total", "Events that were stored in the database", registry=registry
        )
        self.spooled = gauge("events_spooled", "Events that wait for the database")
        self.losses = Counter("pneumonia_events_lost_total", "Events that are lost", ("reason",), registry=registry)
        for reason in LOSSES:
            self.losses.labels(reason)
        self.up = gauge("event_database_up", "1 where the monitoring database answers")
        self.feedback = gauge("feedback", "Words of readers in the database, by verdict", ("verdict",))
        self.labels = gauge("feedback_labels", "Images with feedback, by state", ("state",))
        self.alarm = gauge("drift_alarm", "1 where the last look at drift was an alarm")
        self.score = gauge("drift_score", "Largest score of the last look at drift; an alarm from 1 on")
        self.kind = gauge("drift_kind", "1 for the kind of change that was found last", ("kind",))
        self.images = gauge("drift_window_images", "Images that the last look at drift saw")
        self.checked = gauge("drift_checked_timestamp_seconds", "Time of the last look at drift")
        self.tests = gauge("drift_test_score", "Score of each test; an alarm from 1 on", ("test",))
        self.estimated = gauge("estimated_metric", "Metric estimated without labels", ("metric", "bound"))
        self.expected = gauge("expected_metric", "The same on the reference", ("metric", "bound"))
        self.measured = gauge("measured_metric", "Metric from readers' labels", ("metric", "bound"))
        self.prevalence = gauge("estimated_prevalence", "Share of PNEUMONIA, estimated without labels")
        self.loops = gauge("loops", "Loops that have ended, by action and outcome", ("action", "outcome"))
        self.running = gauge("loop_running", "1 while a retraining or recalibration is running")
        self.last = Info("pneumonia_loop_last", "The last loop", registry=registry)

    def recorded(self, events: int) -> None:
        """Count events that are in the database now."""
        self.events.inc(events)

    def lost(self, reason: str) -> None:
        """Count an event that is lost."""
        self.losses.labels(reason).inc()

    def database_up(self, up: bool) -> None:
        """Say whether the database answers."""
        self.up.set(float(up))

    def show_feedback(self, verdicts: Mapping[Said, int], states: Mapping[State, int]) -> None:
        """Show how many readers said what, and how many images' labels are settled, open and disputed."""
        for verdict, count in verdicts.items():
            self.feedback.labels(verdict).set(count)
        for state, count in states.items():
            self.labels.labels(state).set(count)

    def show_verdict(self, verdict: DriftVerdict, checked: float, version: str) -> None:
        """Show the last look at drift.

        Args:
            verdict: what it found.
            checked: its time, seconds since 1970.
            version: that answers now; an alarm about an earlier one is over.
        """
        now = verdict.version == version
        self.alarm.set(float(verdict.alarm and now))
        self.score.set(verdict.score if now else 0.0)
        for kind in get_args(Kind):
            self.kind.labels(kind).set(float(kind == (verdict.kind if now else "too few")))
        self.images.set(verdict.images)
        self.checked.set(checked)
        for name, score in verdict.scores().items():
            self.tests.labels(name).set(score)
        for gauge, metrics in (
            (self.estimated, verdict.estimated), (self.expected, verdict.expected), (self.measured, verdict.measured),
        ):  # fmt: skip
            _show(gauge, metrics)
        if verdict.prevalence is not None:
            self.prevalence.set(verdict.prevalence.value)

    def show_loops(self, counts: Mapping[tuple[str, str], int], last: Loop | None) -> None:
        """Show the loops that have ended, and the last one."""
        for (action, outcome), count in counts.items():
            self.loops.labels(action, outcome).set(count)
        self.running.set(float(last is not None and last.outcome is None))
        if last is not None:
            found = {"trace_id": last.trace_id, "action": last.action, "outcome": last.outcome or "running"}
            self.last.info(found | {"version": last.new_version or last.version})


def _show(gauge: Gauge, metrics: Mapping[str, Metric]) -> None:
    gauge.clear()
    for name, metric in metrics.items():
        for bound in BOUNDS:
            gauge.labels(name, bound).set(getattr(metric, bound))
