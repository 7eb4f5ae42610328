"""Draw the panels of Grafana's dashboards with the values of a Prometheus, for machines on which Grafana cannot run.

    .venv/bin/python docs/dashboards.py --prometheus URL [--minutes 15] [service] [model] [pipeline]

Titles, expressions and legends are those of the dashboards' files; what a panel looks like in Grafana differs. A panel
without a series says so.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import requests
from matplotlib.axes import Axes
from matplotlib.figure import Figure

ROOT = Path(__file__).parents[1]
FILES = ROOT / "deployments/grafana/dashboards"
IMAGES = ROOT / "docs/images"
POINTS = 180
UNITS = {"s": "seconds", "percentunit": "share", "bytes": "bytes", "reqps": "a second", "cps": "a second"}
ROW = 0.34
"""Height of one of Grafana's rows, inches."""


def series_of(url: str, target: dict[str, Any], minutes: float) -> dict[str, list[tuple[float, float]]]:
    """Return an expression's series by their legends: minutes (0 is now, before it negative) and value."""
    now = time.time()
    query = {"query": target["expr"]}
    if target["range"]:
        query |= {"start": str(now - 60 * minutes), "end": str(now), "step": str(60 * minutes / POINTS)}
    kind = "query_range" if target["range"] else "query"
    answer = requests.get(f"{url}/api/v1/{kind}", params=query, timeout=30)
    answer.raise_for_status()
    return {
        legend_of(target, one["metric"]): [
            ((float(at) - now) / 60, float(value)) for at, value in one.get("values", [one.get("value")])
        ]
        for one in answer.json()["data"]["result"]
    }


def legend_of(target: dict[str, Any], labels: dict[str, str]) -> str:
    """Return a series' legend, with its labels in place."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), target["legendFormat"])


def draw(axes: Axes, panel: dict[str, Any], series: dict[str, list[tuple[float, float]]], minutes: float) -> None:
    """Draw a panel."""
    axes.set_title(panel["title"], fontsize=9, loc="left")
    if not series:
        axes.text(0.5, 0.5, "no data", ha="center", va="center", color="0.5", transform=axes.transAxes)
        axes.set_axis_off()
    elif panel["type"] == "stat":
        named = panel["options"]["textMode"] == "name"
        words = [name if named else f"{name}  {points[-1][1]:.3g}".strip() for name, points in series.items()]
        size = 20 if len(words) == 1 and not named else 8
        axes.text(0.5, 0.5, "\n".join(words), ha="center", va="center", fontsize=size, transform=axes.transAxes)
        axes.set_axis_off()
    else:
        for name, points in series.items():
            axes.plot(*zip(*points, strict=True), label=name or None, linewidth=1)
        axes.set_xlim(-minutes, 0)
        axes.set_xlabel("minutes", fontsize=7, labelpad=0)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
        axes.set_ylabel(UNITS.get(panel["fieldConfig"]["defaults"]["unit"], ""), fontsize=7)
        if any(series):
            axes.legend(fontsize=6, loc="upper left", ncols=2, framealpha=0.7)


def picture(url: str, name: str, minutes: float) -> None:
    """Draw a dashboard into docs/images."""
    dashboard = json.loads((FILES / f"{name}.json").read_text(encoding="utf-8"))
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    figure = Figure(figsize=(14, ROW * rows + 0.6), dpi=110)
    grid = figure.add_gridspec(
        rows, 24, left=0.04, right=0.99, top=1 - 0.7 / (ROW * rows), bottom=0, wspace=4, hspace=3
    )
    figure.suptitle(f"{dashboard['title']}, the last {minutes:g} minutes. Not a medical device.", fontsize=10)
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        axes = figure.add_subplot(grid[at["y"] : at["y"] + at["h"] - 1, at["x"] + 1 : at["x"] + at["w"]])
        series: dict[str, list[tuple[float, float]]] = {}
        for target in panel["targets"]:
            series |= series_of(url, target, minutes)
        draw(axes, panel, series, minutes)
    figure.savefig(IMAGES / f"dashboard-{name}.png")
    print(f"docs/images/dashboard-{name}.png", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prometheus", required=True)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("names", nargs="*", default=["service", "model", "pipeline"])
    chosen = parser.parse_args()
    for name in chosen.names:
        picture(chosen.prometheus.rstrip("/"), name, chosen.minutes)


if __name__ == "__main__":
    main()
