"""Write Grafana's dashboards from the list of their panels: `make dashboards`.

    python3 deployments/scripts/write_dashboards.py [FOLDER]

A dashboard's JSON is some forty lines a panel, of which a person chooses five; these are in dashboard_panels.py.
Grafana reads the files of the folder at its start, and changes none of them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from dashboard_panels import DASHBOARDS, Panel

FOLDER = Path(__file__).parents[1] / "grafana/dashboards"
SOURCE = {"type": "prometheus", "uid": "prometheus"}
COLUMNS = 24
"""Width of a dashboard."""
SCHEMA_VERSION = 39
"""Of Grafana 11's dashboards."""
BASE = {"color": {"mode": "palette-classic"}, "custom": {}, "mappings": []}
TIME_SERIES = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": False}
STEPS: dict[str, list[tuple[str, float | None]]] = {
    "": [("green", None)],
    "one is good": [("red", None), ("green", 1)],
    "one is bad": [("green", None), ("red", 1)],
}
"""Colours from a value on."""


def dashboard(name: str, title: str, panels: tuple[Panel, ...]) -> dict[str, Any]:
    """Return a dashboard's document; its panels are laid out in rows from left to right."""
    placed, x, y, height = [], 0, 0, 0
    for number, panel in enumerate(panels, start=1):
        if x + panel.width > COLUMNS:
            x, y, height = 0, y + height, 0
        placed.append(_panel(number, panel, x, y))
        x, height = x + panel.width, max(height, panel.height)
    return {
        "uid": f"pneumonia-{name}",
        "title": title,
        "description": "Not a medical device: for research and teaching, never for a decision about a patient.",
        "tags": ["pneumonia"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "templating": {"list": []},
        "links": [
            {"type": "dashboards", "title": "Pneumonia", "tags": ["pneumonia"], "asDropdown": True, "keepTime": True}
        ],
        "panels": placed,
    }


def _panel(number: int, panel: Panel, x: int, y: int) -> dict[str, Any]:
    steps = [{"color": color, "value": value} for color, value in STEPS[panel.colours]]
    defaults = {**BASE, "unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.kind == "timeseries":
        defaults["custom"] = TIME_SERIES
        options: dict[str, Any] = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    else:
        defaults["color"] = {"mode": "thresholds"}
        text = "name" if panel.names else "auto"
        options = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "textMode": text}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {"refId": chr(ord("A") + at), "datasource": SOURCE, "editorMode": "code", "expr": expression}
            | {"legendFormat": legend, "range": panel.kind == "timeseries", "instant": panel.kind != "timeseries"}
            for at, (legend, expression) in enumerate(panel.series.items())
        ],
    }


def write(folder: Path) -> None:
    """Write all dashboards."""
    for name, (title, panels) in DASHBOARDS.items():
        text = json.dumps(dashboard(name, title, panels), indent=2, ensure_ascii=False)
        (folder / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
