"""Samples of the system."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pneumonia.tracking.client import mlflow_client
from pneumonia.tracking.run import Run
from tests.support.runs import settings, steps


def test_system_metrics_go_on_where_they_ended(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    lengths = []
    for _ in range(2):
        run = Run.open(settings(work, system_metrics=True), "key", "name", {})
        wait_for_samples(run, sum(lengths) + 2)
        run.finish("KILLED")
        lengths.append(len(steps(run, "system/cpu_utilization_percentage")))
    taken = steps(run, "system/cpu_utilization_percentage")
    assert taken == list(range(len(taken)))
    assert "system/system_memory_usage_megabytes" in mlflow_client(run.uri).get_run(run.id).data.metrics


def wait_for_samples(run: Run, count: int) -> None:
    end = time.monotonic() + 30
    while len(steps(run, "system/cpu_utilization_percentage")) < count:
        assert time.monotonic() < end
        time.sleep(0.1)
