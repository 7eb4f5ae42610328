"""What changed images do to a model is kept with its version."""

from __future__ import annotations

import uuid

from pneumonia.records.assessment import Robustness, RobustnessRow
from pneumonia.records.evaluation import Metric
from pneumonia.registry import robustness
from pneumonia.tracking.client import mlflow_client
from tests.support.registered import registered

METRICS = {"auroc": Metric(value=0.123456789012345, low=0.1, high=0.2)}


def document(images: int) -> Robustness:
    row = RobustnessRow(change="noise", strength=1, amount="standard deviation 2% of full scale", metrics=METRICS)
    return Robustness(
        measured_on="x", when="2026-01-01T00:00:00+00:00", weights_digest="w", threshold=0.4, confidence=0.95,
        images=images, positives=1, rows_digest="r", seed=0, reference=METRICS, rows=(row,),
    )  # fmt: skip


def test_a_version_keeps_its_latest(any_uri: str) -> None:
    version = registered(any_uri, f"robust-{uuid.uuid4().hex}")
    assert robustness.find(any_uri, version) is None
    robustness.store(any_uri, version, document(1))
    robustness.store(any_uri, version, document(2))
    assert robustness.find(any_uri, version) == document(2)
    files = mlflow_client(any_uri).list_artifacts(version.run_id, robustness.FOLDER)
    assert [file.path for file in files] == ["robustness/robustness.json"]
