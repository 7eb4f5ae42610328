"""Draw the steps and the rooms, in the order that pyproject.toml declares: python docs/rooms.py"""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DRAWING = ROOT / "docs" / "images" / "architecture.svg"
STEPS = ("prepare_data", "train_model", "export_model", "validate_model", "build_dossier", "promote_model")
TORCH = {"train_model", "export_model", "validate_model", "evaluation", "modelling"}
"""Steps and rooms that compute with torch."""
PURPOSES = {
    "cli": "the commands",
    "serving": "the service and its page",
    "evidence": "dossier, verification, reproduction",
    "inference": "an exported model on files",
    "monitoring": "events, drift, feedback, loops",
    "reporting": "reports, plots, the dossier's page",
    "evaluation": "gate, assessment, cross-validation",
    "modelling": "network, training, calibration, export",
    "data": "audit, split, packing, phantoms",
    "statistics": "metrics, intervals by patient",
    "registry": "versions, champion, ledgers, signatures",
    "tracking": "MLflow runs",
    "imaging": "from bytes to pixels",
    "records": "the frozen documents",
    "config": "settings, profiles",
    "errors, files, progress": "atomic files, locks",
}
USED = {
    "serving": "FastAPI",
    "reporting": "matplotlib",
    "modelling": "torch",
    "tracking": "MLflow",
    "imaging": "Pillow",
}
"""The library that a room alone, or with its neighbour, imports."""
TOP, STEP, LEFT, WIDTH = 222, 35, 230, 460

STYLE = """<style>
    .area { fill: #f5f7fa; stroke: #c3ccd8; }
    .room { fill: #ffffff; stroke: #5b7ba6; }
    .torch { fill: #fdf1e3; stroke: #c8862f; }
    .title { font-size: 15px; font-weight: bold; fill: #22344d; }
    .note { font-size: 12px; fill: #53637a; }
    .name { font-size: 13px; fill: #14233a; font-family: Menlo, Consolas, monospace; }
    .middle { text-anchor: middle; }
    .end { text-anchor: end; }
    .line { stroke: #5b7ba6; stroke-width: 1.5; fill: none; marker-end: url(#arrow); }
  </style>
  <defs><marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">
    <path d="M0 0 L10 5 L0 10 z" fill="#5b7ba6"/></marker></defs>"""
LABEL = (
    "Rooms of the project: Prefect and Airflow call six steps; the steps use the library's rooms; each room imports "
    "only from the rooms below it"
)


def layers() -> list[str]:
    """Return the rooms from the top, as the contract declares them; what lies below all of them is one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = next(each for each in project["tool"]["importlinter"]["contracts"] if each["id"] == "rooms")
    return [*(layer.strip("()") for layer in contract["layers"][:-1]), "errors, files, progress"]


def box(name: str, x: float, y: float, width: float, height: float) -> str:
    kind = "torch" if name in TORCH else "room"
    return f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"/>'


def text(words: str, x: float, y: float, style: str) -> str:
    return f'<text class="{style}" x="{x:g}" y="{y:g}">{words}</text>'


def steps() -> list[str]:
    """Return the row of the steps."""
    shapes, width, gap = [], 104.0, 14.0
    for at, name in enumerate(STEPS):
        x = LEFT + at * (width + gap)
        shapes += [box(name, x, 122, width, 46), text(name, x + width / 2, 150, "name middle small")]
        if at:
            shapes.append(f'<path class="line" d="M{x - gap:g} 145 H{x - 2:g}"/>')
    return shapes


def rooms() -> list[str]:
    """Return the rooms from the top, with what each is for and which library it alone imports."""
    shapes = []
    for at, name in enumerate(layers()):
        y = TOP + at * STEP
        shapes += [
            box(name, LEFT, y, WIDTH, 28),
            text(name, LEFT + 14, y + 19, "name"),
            text(PURPOSES[name], LEFT + WIDTH - 14, y + 19, "note end"),
        ]
        if name in USED:
            shapes += [
                box("", 740, y, 190, 28),
                text(USED[name], 835, y + 19, "name middle"),
                f'<path class="line" d="M{LEFT + WIDTH} {y + 14} H738"/>',
            ]
    return shapes


def drawing() -> str:
    """Return the whole drawing as SVG."""
    bottom = TOP + len(layers()) * STEP
    shapes = [
        f'<rect width="960" height="{bottom + 24}" fill="#ffffff"/>',
        *(f'<rect class="area" x="20" y="{y}" width="920" height="{h}" rx="4"/>' for y, h in ((16, 74), (106, 78))),
        text("Orchestration", 36, 44, "title"),
        text("order, retries, schedules", 36, 64, "note"),
        *(box(name, x, 30, 330, 46) for name, x in (("flows", 230), ("deployments", 590))),
        text("flows/ (Prefect)", 395, 58, "name middle"),
        text("deployments/ (Airflow)", 755, 58, "name middle"),
        text("Steps", 36, 136, "title"),
        text("tasks/: JSON in, JSON out", 36, 156, "note"),
        *steps(),
        *(f'<path class="line" d="M{x} {y} V{y + 29}"/>' for x, y in ((395, 76), (755, 76))),
        '<path class="line" d="M460 184 V207"/>',
        f'<rect class="area" x="20" y="208" width="920" height="{bottom - 204}" rx="4"/>',
        text("Library", 36, 236, "title"),
        *(
            text(words, 36, 256 + 16 * at, "note")
            for at, words in enumerate(("pneumonia/: the rooms;", "each imports only from", "those below it"))
        ),
        *rooms(),
        box("modelling", 36, bottom - 56, 18, 14),
        text("computes with torch", 62, bottom - 44, "note"),
        box("", 36, bottom - 32, 18, 14),
        text("importable without torch", 62, bottom - 20, "note"),
    ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 {bottom + 24}" font-family="Helvetica, Arial, '
    body = "\n  ".join([STYLE.replace(".middle {", ".small { font-size: 11px; }\n    .middle {"), *shapes])
    return f'{head}sans-serif" role="img" aria-label="{LABEL}">\n  {body}\n</svg>\n'


if __name__ == "__main__":
    DRAWING.write_text(drawing(), encoding="utf-8")
