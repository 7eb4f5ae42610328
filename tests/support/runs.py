"""What the tests of runs have in common."""

from __future__ import annotations

from pathlib import Path

from pneumonia.config.schema import Config, TrackingConfig
from pneumonia.tracking.client import mlflow_client
from pneumonia.tracking.run import Run

EPOCHS = [{"epoch": step, "val_loss": 1 / step, "val_accuracy": 0.5} for step in (1, 2, 3, 4)]


def settings(work: Path, uri: str = "auto", system_metrics: bool = False) -> Config:
    return Config(work=str(work), tracking=TrackingConfig(uri=uri, system_metrics=system_metrics))


def steps(run: Run, metric: str = "val_loss") -> list[int]:
    return [entry.step for entry in mlflow_client(run.uri).get_metric_history(run.id, metric)]


def status(run: Run) -> str:
    return str(mlflow_client(run.uri).get_run(run.id).info.status)
