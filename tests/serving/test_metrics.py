"""Metrics follow Prometheus' conventions: base units, endings, and labels of closed lists."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.support.serving import film

BOUNDED = {"route", "status", "part", "decision", "code", "le"}
BOUNDED |= {"reason", "verdict", "state", "kind", "test", "metric", "bound", "action", "outcome"}
NAMING = {"pneumonia_model", "pneumonia_loop_last"}  # of which there is one series, that of now


def test_the_metrics_can_be_parsed_and_follow_the_conventions(client: Any) -> None:
    client.post("/v1/predict", content=film(), headers={"Content-Type": "image/png"})
    for path in ("/some/path/1", "/some/path/2", "/v1/samples/x", "/v1/samples/y"):
        client.get(path)
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(response.text)}
    own = {name: family for name, family in families.items() if name.startswith("pneumonia_")}
    assert len(own) >= 14
    for name, family in own.items():
        assert family.documentation, name
        if "duration" in name:
            assert name.endswith("_seconds")
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)
        if name not in NAMING:
            assert {label for sample in family.samples for label in sample.labels} <= BOUNDED
    routes = {sample.labels["route"] for sample in own["pneumonia_requests"].samples}
    assert routes == {"/v1/predict", "/v1/samples/{name}", "unmatched"}
    assert "process_resident_memory_bytes" in families
    assert "_created" not in response.text
