"""Count what the service does, for Prometheus: base units, and labels of closed lists."""

from __future__ import annotations

from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from pneumonia.inference.served_model import Answer, ServedModel
from pneumonia.serving.monitoring_metrics import MonitoringMetrics

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SHARES = tuple(round(0.1 * step, 1) for step in range(1, 11))
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The metrics of one service, in a registry of its own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a time for each counter, which doubles the answer
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.requests = Counter("pneumonia_requests_total", "Requests answered", ("route", "status"), registry=registry)
        self.seconds = Histogram(
            "pneumonia_request_duration_seconds",
            "From the request's header to the end of its answer",
            ("route",),
            buckets=SECONDS,
            registry=registry,
        )
        self.in_flight = Gauge("pneumonia_requests_in_flight", "Requests being answered", registry=registry)
        self.waiting = Gauge("pneumonia_queue_images", "Images that wait for a thread", registry=registry)
        self.computing = Gauge("pneumonia_computing_images", "Images that a thread works on", registry=registry)
        self.parts = Histogram(
            "pneumonia_image_duration_seconds", "Time of an image's part", ("part",), buckets=SECONDS, registry=registry
        )
        self.decisions = Counter(
            "pneumonia_decisions_total", "Images answered, by decision", ("decision",), registry=registry
        )
        self.refusals = Counter("pneumonia_refusals_total", "Images refused, by code", ("code",), registry=registry)
        self.unfamiliar = Counter(
            "pneumonia_unfamiliar_total", "Images answered that are unlike the training images", registry=registry
        )
        self.probability = Histogram(
            "pneumonia_probability", "Probability of PNEUMONIA that was answered", buckets=SHARES, registry=registry
        )
        self.ready = Gauge("pneumonia_ready", "1 where radiographs are answered", registry=registry)
        self.model = Info("pneumonia_model", "The model that answers", registry=registry)
        self.swaps = Counter("pneumonia_model_swaps_total", "Models that were put to use", registry=registry)
        self.failed_swaps = Counter(
            "pneumonia_model_swap_failures_total", "New champions that were not put to use", registry=registry
        )
        self.failed_lookups = Counter(
            "pneumonia_champion_lookup_failures_total", "Lookups of the champion that failed", registry=registry
        )

        self.monitoring = MonitoringMetrics(registry)

    def count_answer(self, answer: Answer, decision: str | None) -> None:
        """Count an image's answer; `decision` is None for a refusal."""
        for part, milliseconds in answer.milliseconds.items():
            self.parts.labels(part).observe(milliseconds / 1000)
        if decision is None or answer.outputs is None:
            self.refusals.labels(answer.assessment.code).inc()
            return
        self.decisions.labels(decision).inc()
        self.probability.observe(answer.outputs.probability)
        if not answer.assessment.familiar:
            self.unfamiliar.inc()

    def name_model(self, model: ServedModel) -> None:
        """Name the model that answers from now on."""
        labels: dict[str, Any] = {
            "name": model.name,
            "version": model.version,
            "weights_digest": model.record.weights_digest,
            "precision": model.precision,
            "phantom": str(model.record.phantom).lower(),
        }
        self.model.info(labels)
        self.swaps.inc()

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
