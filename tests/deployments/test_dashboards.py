"""Grafana's dashboards and their provisioning, which no Grafana reads here: every member is checked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deployments.stack import ROOT

GRAFANA = ROOT / "deployments/grafana"
NAMES = ("service", "model", "pipeline")
DASHBOARDS = {name: json.loads((GRAFANA / f"dashboards/{name}.json").read_text(encoding="utf-8")) for name in NAMES}
UNITS = {"short", "reqps", "cps", "s", "percentunit", "bytes"}
"""Of Grafana's units, those that are used."""


def members(found: dict[str, Any], **types: type | tuple[type, ...]) -> None:
    """See that a document has these members, of these types, and no other."""
    assert found.keys() == types.keys()
    assert {name: found[name] for name, kind in types.items() if not isinstance(found[name], kind)} == {}


@pytest.mark.integration
def test_the_files_are_what_the_script_writes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "deployments/scripts/write_dashboards.py", tmp_path], check=True, timeout=30)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in (GRAFANA / "dashboards").iterdir()}
    for path in tmp_path.iterdir():
        written = (GRAFANA / "dashboards" / path.name).read_text()
        assert path.read_text() == written, "make dashboards writes them anew"


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_has_what_grafana_needs(name: str) -> None:
    found = DASHBOARDS[name]
    members(
        found,
        uid=str,
        title=str,
        description=str,
        tags=list,
        schemaVersion=int,
        version=int,
        editable=bool,
        graphTooltip=int,
        refresh=str,
        time=dict,
        timezone=str,
        annotations=dict,
        templating=dict,
        links=list,
        panels=list,
    )
    assert found["uid"] == f"pneumonia-{name}"
    assert len(found["uid"]) <= 40
    assert "Not a medical device" in found["description"]
    assert "id" not in found  # of a database; with one, the import is refused


def test_the_dashboards_are_apart() -> None:
    for member in ("uid", "title"):
        assert len({found[member] for found in DASHBOARDS.values()}) == 3


@pytest.mark.parametrize("name", NAMES)
def test_the_panels_are_complete_and_do_not_overlap(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    panels = DASHBOARDS[name]["panels"]
    assert sorted(panel["id"] for panel in panels) == list(range(1, len(panels) + 1))
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        members(
            panel,
            id=int,
            type=str,
            title=str,
            description=str,
            datasource=dict,
            gridPos=dict,
            fieldConfig=dict,
            options=dict,
            targets=list,
        )
        assert panel["type"] in ("timeseries", "stat")
        place = panel["gridPos"]
        members(place, x=int, y=int, w=int, h=int)
        cells = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken
        taken |= cells
        members(panel["fieldConfig"], defaults=dict, overrides=list)
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"] in UNITS
        steps = defaults["thresholds"]["steps"]
        assert steps[0]["value"] is None
        assert all(step.keys() == {"color", "value"} for step in steps)


@pytest.mark.parametrize("name", NAMES)
def test_each_series_comes_from_the_provisioned_datasource(name: str) -> None:
    sources = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    known = {source["uid"]: source["type"] for source in sources}
    for panel in DASHBOARDS[name]["panels"]:
        assert [target["refId"] for target in panel["targets"]] == list("ABCDEFGH"[: len(panel["targets"])])
        for one in (panel, *panel["targets"]):
            assert known[one["datasource"]["uid"]] == one["datasource"]["type"] == "prometheus"
        for target in panel["targets"]:
            members(
                target,
                refId=str,
                datasource=dict,
                editorMode=str,
                expr=str,
                legendFormat=str,
                range=bool,
                instant=bool,
            )
            assert target["range"] != target["instant"]


def test_the_provisioned_folder_is_where_the_image_has_the_dashboards() -> None:
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/pneumonia.yml").read_text())["providers"]
    assert provider["type"] == "file"
    dockerfile = (ROOT / "deployments/Dockerfile").read_text()
    assert f"deployments/grafana/dashboards {provider['options']['path']}\n" in dockerfile
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]["environment"]
    home = Path(compose["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == provider["options"]["path"]
    assert home.stem in NAMES
