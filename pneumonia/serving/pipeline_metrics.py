"""Report the pipelines of an orchestrator, and the health of its parts, for Prometheus.

Airflow's own StatsD and OpenTelemetry metrics need one more server each. What alerts and dashboards need is in its REST
API: which part is alive, how many runs there are in each state, how long the last one took. It is asked at each scrape.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import requests
from prometheus_client import CollectorRegistry, Counter, ProcessCollector, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from pneumonia.errors import TrackingError
from pneumonia.serving.orchestrators import LOOK_SECONDS, Orchestrator, Pipeline

logger = logging.getLogger(__name__)


class PipelineMetrics:
    """The webhook's metrics.

    Args:
        orchestrator: that is asked at each scrape.
        mlflow: address of an MLflow server whose health is asked for too; None: of none.
    """

    def __init__(self, orchestrator: Orchestrator, mlflow: str | None = None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a time for each counter, which nobody asks for
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.alerts = Counter("pneumonia_alerts_received_total", "Alerts received", ("status",), registry=registry)
        self.starts = Counter(
            "pneumonia_loop_starts_total",
            "Starts of the monitor by alerts",
            ("outcome",),
            registry=registry,
        )
        for status in ("firing", "resolved"):
            self.alerts.labels(status)
        for outcome in ("started", "known", "failed"):  # a rate needs the zero before the first
            self.starts.labels(outcome)
        registry.register(_Parts(orchestrator, mlflow))

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class _Parts(Collector):
    def __init__(self, orchestrator: Orchestrator, mlflow: str | None) -> None:
        self._orchestrator, self._mlflow = orchestrator, mlflow

    def describe(self) -> list[Any]:
        """Return nothing, so that registering asks no server."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Ask the orchestrator and MLflow."""
        up = GaugeMetricFamily("pneumonia_part_up", "1 where a part of the pipeline is healthy", labels=["part"])
        parts = self._orchestrator.parts()
        answering = any(parts.values())
        if self._mlflow is not None:
            parts["mlflow"] = _answers(f"{self._mlflow.rstrip('/')}/health")
        for part, healthy in parts.items():
            up.add_metric([part], float(healthy))
        yield up
        yield from _families(self._pipelines() if answering else [])

    def _pipelines(self) -> list[Pipeline]:
        try:
            return self._orchestrator.pipelines()
        except TrackingError as error:
            logger.debug("no pipelines: %s", error)  # pneumonia_part_up says so; a gap in the series is no zero
            return []


def _families(pipelines: list[Pipeline]) -> Iterator[GaugeMetricFamily]:
    runs = GaugeMetricFamily("pneumonia_pipeline_runs", "Runs by state", labels=["pipeline", "state"])
    for pipeline in pipelines:
        for state, count in pipeline.runs.items():
            runs.add_metric([pipeline.name, state], count)
    yield runs
    wanted: tuple[tuple[str, str, Callable[[Pipeline], float | bool | None]], ...] = (
        ("pneumonia_pipeline_last_duration_seconds", "Duration of the last run that ended", lambda one: one.seconds),
        ("pneumonia_pipeline_last_end_timestamp_seconds", "When the last run ended", lambda one: one.ended),
        ("pneumonia_pipeline_last_success", "1 where the last run that ended succeeded", lambda one: one.succeeded),
    )
    for name, words, value in wanted:
        family = GaugeMetricFamily(name, words, labels=["pipeline"])
        for pipeline in pipelines:
            if (found := value(pipeline)) is not None:
                family.add_metric([pipeline.name], float(found))
        yield family


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=LOOK_SECONDS).status_code == 200
    except requests.RequestException:
        return False
