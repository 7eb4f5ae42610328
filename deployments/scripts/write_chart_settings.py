"""Write the settings that the chart's `serving.settings` takes, from the configuration's tree, into its schema.

    PYTHONPATH=. .venv/bin/python deployments/scripts/write_chart_settings.py

A name that is in no list is refused by Helm, before a pod with a misspelt setting goes on with its default.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from pneumonia.config.schema import Config

SCHEMA = Path(__file__).parents[1] / "kubernetes/pneumonia/values.schema.json"
SECTIONS = ("serving", "monitoring", "signing", "registry")
"""What the service reads of the configuration."""
CHARTS_OWN = frozenset(
    {
        *("serving.model", "serving.threads", "serving.drain_seconds", "serving.host", "serving.port"),
        *("monitoring.folder", "monitoring.keep_images", "monitoring.database", "monitoring.record"),
    }
)
"""Settings that the chart gives to the service from values of its own."""
PLACE = re.compile(r'(?<="propertyNames": \{"enum": \[\n)[^\]]*?(?=^ *\]\})', re.MULTILINE)


def names() -> list[str]:
    """Return the names that may be set, in the order of the tree."""
    every = Config.names()
    if unknown := sorted(CHARTS_OWN.difference(every)):
        raise ValueError(f"{', '.join(unknown)}: no settings any more; correct CHARTS_OWN")
    return [name for name in every if name.partition(".")[0] in SECTIONS and name not in CHARTS_OWN]


def schema(text: str) -> str:
    """Return the schema with its list of settings written anew.

    Raises:
        ValueError: it has no such list.
    """
    lines = ",\n".join(f"            {json.dumps(name)}" for name in names())
    found, count = PLACE.subn(f"{lines}\n", text)
    if count != 1:
        raise ValueError(f"{SCHEMA.name}: has {count} lists of settings instead of one")
    return found


if __name__ == "__main__":
    SCHEMA.write_text(schema(SCHEMA.read_text(encoding="utf-8")), encoding="utf-8")
