"""Write the table of the chart's values in docs/kubernetes.md: names and defaults of values.yaml, words of its schema.

python deployments/scripts/write_values_table.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deployments/kubernetes/pneumonia"
PAGE = ROOT / "docs/kubernetes.md"
BEGIN, END = "<!-- values: deployments/scripts/write_values_table.py -->\n", "<!-- end of values -->\n"


def described(values: dict[str, Any], schema: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any, str]]:
    """Yield each value's name, default and description.

    Raises:
        KeyError: the schema does not have it, or does not describe it.
    """
    for name, value in values.items():
        place, entry = f"{above}{name}", schema["properties"][name]
        if "properties" in entry and "description" not in entry:
            yield from described(value, entry, f"{place}.")
        else:
            yield place, value, entry["description"]


def shown(value: Any) -> str:
    """Return a default as YAML writes it, on one line."""
    text = json.dumps(value) if isinstance(value, dict | list) else str(value)
    return f"`{text.lower() if isinstance(value, bool) else text}`" if value not in ("", {}, []) else ""


def table() -> str:
    """Return the table as Markdown."""
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    rows = [f"| `{name}` | {shown(value)} | {words} |" for name, value, words in described(values, schema)]
    return "\n".join(["| value | default | meaning |", "|---|---|---|", *rows]) + "\n"


def page(text: str) -> str:
    """Return the page with its table written anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
