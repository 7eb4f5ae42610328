"""The costs: the document's tables are those of the prices and the measurements, and move as they should."""

from __future__ import annotations

import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from deployments.cloud.shape import read_shape
from tests.deployments.stack import ROOT
from tests.support.loaded import loaded


@pytest.fixture(scope="module")
def costs() -> ModuleType:
    return loaded(ROOT / "docs/cloud_costs.py")


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
    prices = tomllib.loads(costs.PRICES.read_text(encoding="utf-8"))
    price = dict.fromkeys(prices["aws"], 1.0)
    few, many = (costs.ways(found, price, prices, studies) for studies in (100, 10_000_000))
    assert many["Kubernetes"]["nodes"] > few["Kubernetes"]["nodes"]
    assert many["managed services"]["replicas"] > few["managed services"]["replicas"]
    assert many["one machine"]["address"] == few["one machine"]["address"]
    assert few["laptop"] == {}


def test_a_normal_month_of_what_is_made_spends_less_than_sends_a_mail(costs: ModuleType) -> None:
    prices = tomllib.loads(costs.PRICES.read_text(encoding="utf-8"))
    months = [
        sum(costs.ways(costs.measured(), prices[cloud], prices, studies)["managed services"].values())
        for cloud in ("aws", "gcp")
        for studies in (100, 100_000)
    ]
    assert max(months) < 0.8 * read_shape().budget_usd


def test_the_busiest_hours_cores_are_the_arithmetic_of_its_parts(costs: ModuleType) -> None:
    found = costs.Measured(image_seconds=0.03, image_bytes=0, event_bytes=0, training_core_hours=0)
    # 86,400 studies are one a second: 2 images of 30 ms, five times in the busiest hour, on cores that are 60 % busy
    assert costs.cores(found, 86_400) == pytest.approx(2 * 0.03 * 5 / 0.6)


def test_the_cluster_that_is_priced_runs_the_chart_and_its_upgrade(costs: ModuleType) -> None:
    """Requests are what Kubernetes places pods by; a node gives less than its cores."""
    prices = tomllib.loads(costs.PRICES.read_text(encoding="utf-8"))
    free = {**dict.fromkeys(prices["aws"], 0.0), "node": 1 / prices["hours"]}
    count = costs.ways(costs.measured(), free, prices, 100)["Kubernetes"]["nodes"]
    values = yaml.safe_load((ROOT / "deployments/kubernetes/pneumonia/values.yaml").read_text())
    serving, mlflow, postgres = (
        values[part]["resources"]["requests"]["cpu"] for part in ("serving", "mlflow", "postgres")
    )
    assert (mlflow, postgres) == ("250m", "100m")
    room = prices["node_cores"] - 0.3
    replicas = values["serving"]["autoscaling"]["minReplicas"] + 1
    assert count * (room // float(serving)) >= replicas
    assert count * room >= replicas * float(serving) + 0.25 + 0.1
    assert f"{count:.0f} nodes of {prices['node_cores']} cores" in (ROOT / "docs/kubernetes.md").read_text()


@pytest.mark.parametrize(
    ("pods", "count"), [([2, 2, 2, 0.25, 0.1], 3), ([1, 1, 1], 1), ([3.7], 1), ([3.5, 3.5, 0.2, 0.2], 2)]
)
def test_pods_are_put_where_they_fit(costs: ModuleType, pods: list[float], count: int) -> None:
    assert costs.nodes(pods, 4) == count
    with pytest.raises(SystemExit, match=r"a pod of 2 cores fits no node with 1.7 free; price larger nodes"):
        costs.nodes([2.0], 2)


def test_what_cannot_be_counted_is_one_line_and_writes_nothing(
    costs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    document, prices = tmp_path / "cloud.md", tmp_path / "prices.toml"
    document.write_text(costs.DOCUMENT.read_text().replace("| laptop | 0 |", "| laptop | 1 |"))
    before, prices_now = document.read_text(), costs.PRICES.read_text()
    prices.write_text(prices_now)
    for name, value in (("ROOT", tmp_path), ("DOCUMENT", document), ("PRICES", prices)):
        monkeypatch.setattr(costs, name, value)
    monkeypatch.setattr("sys.argv", ["cloud_costs.py", "--check"])
    assert costs.main() == 1
    assert capsys.readouterr().err.startswith("cloud.md: its tables are not those of the prices; write them anew: ")
    monkeypatch.setattr("sys.argv", ["cloud_costs.py", "--chek"])
    with pytest.raises(SystemExit):
        costs.main()
    assert "unrecognized arguments: --chek" in capsys.readouterr().err
    prices.write_text(prices_now.replace("gateway = ", "gate = "))
    monkeypatch.setattr("sys.argv", ["cloud_costs.py"])
    assert costs.main() == 1
    assert capsys.readouterr().err == "prices.toml: has no gateway; add it for each cloud\n"
    assert document.read_text() == before


def test_the_restores_seconds_are_those_that_were_measured(costs: ModuleType) -> None:
    document, found = costs.DOCUMENT.read_text(encoding="utf-8"), costs.read("restore")
    assert found["run_is_back"] is True
    for said in (
        f"backup of {found['backup_megabytes']:.0f} MB took {found['backup']:.0f} s",
        f"`make up` {found['up']:.0f} s",
        f"`make restore` {found['restore']:.0f} s",
        f"without an answer for {found['interruption']:.1f} s",
        f"load of {found['load']:.0f}",
    ):
        assert said in document, said
