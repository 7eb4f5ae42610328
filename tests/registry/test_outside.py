"""Metrics of other places are registered with a version, and stand first on its card."""

from __future__ import annotations

import uuid

import pytest

from pneumonia.errors import ConfigError
from pneumonia.records.evaluation import Metric
from pneumonia.registry import outside
from pneumonia.reporting.card import card
from pneumonia.tracking.client import mlflow_client
from tests.support.registered import NAME, registered
from tests.support.trained import record_of

METRICS = {"auroc": Metric(value=0.8, low=0.75, high=0.85), "specificity": Metric(value=0.4, low=0.3, high=0.5)}
INSIDE = {"auroc": Metric(value=0.98, low=0.97, high=0.99)}
FOUND = {"counts": {"NORMAL": 300, "PNEUMONIA": 200}, "patients": 480, "threshold": 0.4}


def test_a_set_is_registered_with_the_version_and_its_run(any_uri: str) -> None:
    version = registered(any_uri, f"outside-{uuid.uuid4().hex}")
    assert outside.registered(any_uri, version) == []
    found = outside.describe("nih", "r" * 64, FOUND, METRICS)
    outside.register(any_uri, version, found)
    outside.register(any_uri, version, found)
    outside.register(any_uri, version, outside.describe("another", "s" * 64, FOUND, METRICS))
    assert [each.name for each in outside.registered(any_uri, version)] == ["another", "nih"]
    assert outside.registered(any_uri, version)[1] == found
    logged = mlflow_client(any_uri).get_run(version.run_id).data.metrics
    assert (logged["outside_nih_auroc"], logged["outside_nih_auroc_low"]) == (0.8, 0.75)


def test_the_card_gives_outside_metrics_first(uri: str) -> None:
    version = registered(uri)
    found = outside.describe("nih", "r" * 64, FOUND, METRICS)
    page = card(record_of(NAME, "w" * 64), version.uri, [found], INSIDE)
    assert page.index("0.800 (0.750 to 0.850)") < page.index("0.980 (0.970 to 0.990)")
    assert "Not a medical device" in page
    assert "300 NORMAL, 200 PNEUMONIA" in page
    outside.set_card(uri, version, page)
    assert mlflow_client(uri).get_model_version(NAME, version.version).description == page


def test_the_card_says_where_nothing_is_known_of_other_places(uri: str) -> None:
    page = card(record_of(NAME, "w" * 64), "models:/m/1", [], INSIDE)
    assert "pneumonia evaluate DIR --outside NAME --model models:/m/1" in page
    assert "29 to 74 % as PNEUMONIA: it is not for adults" in page
    phantom = card(record_of(NAME, "w" * 64).model_copy(update={"phantom": True}), "models:/m/1", [], INSIDE)
    assert "says nothing about radiographs" in phantom


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 51, "-nih"])
def test_a_name_that_can_be_no_tag_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="letters, digits"):
        outside.check_name(name)
    assert outside.check_name("nih-2017") == "nih-2017"
