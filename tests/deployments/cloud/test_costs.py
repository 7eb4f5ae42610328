"""The costs: the document's tables are those of the prices and the measurements, and move as they should."""

from __future__ import annotations

import importlib.util
import sys
import tomllib
from types import ModuleType

import pytest

from tests.deployments.stack import ROOT


@pytest.fixture(scope="module")
def costs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cloud_costs", ROOT / "docs/cloud_costs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["cloud_costs"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_document_holds_the_tables_of_now(costs: ModuleType) -> None:
    document = costs.DOCUMENT.read_text(encoding="utf-8")
    assert costs.written(document) == document, "python docs/cloud_costs.py"


def test_prices_are_dated_named_as_recalled_and_there_for_both_clouds(costs: ModuleType) -> None:
    text = costs.PRICES.read_text(encoding="utf-8")
    prices = tomllib.loads(text)
    assert prices["date"].year >= 2026
    assert "from memory" in text
    assert set(prices["aws"]) == set(prices["gcp"])
    assert str(prices["date"]) in costs.DOCUMENT.read_text(encoding="utf-8")


def test_more_studies_cost_more_where_they_need_more(costs: ModuleType) -> None:
    found = costs.measured()
    price = dict.fromkeys(tomllib.loads(costs.PRICES.read_text(encoding="utf-8"))["aws"], 1.0)
    few, many = (costs.ways(found, price, 730, studies) for studies in (100, 10_000_000))
    assert many["Kubernetes"]["nodes"] > few["Kubernetes"]["nodes"]
    assert many["managed services"]["replicas"] > few["managed services"]["replicas"]
    assert many["one machine"]["address"] == few["one machine"]["address"]
    assert few["laptop"] == {}


def test_the_busiest_hours_cores_are_the_arithmetic_of_its_parts(costs: ModuleType) -> None:
    found = costs.Measured(image_seconds=0.03, image_bytes=0, event_bytes=0, training_core_hours=0)
    # 86,400 studies are one a second: 2 images of 30 ms, five times in the busiest hour, on cores that are 60 % busy
    assert costs.cores(found, 86_400) == pytest.approx(2 * 0.03 * 5 / 0.6)
