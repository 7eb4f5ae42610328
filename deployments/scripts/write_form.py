"""Write the form that Airflow shows for a manual run from the schema of the configuration: `make form`.

Airflow's environment cannot import the library, so the form is a file next to the DAGs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pneumonia.config.resolve import resolve
from pneumonia.config.schema import NOT_OF_A_RUN, PROFILES, Config
from pneumonia.config.section import Section

FORM = Path(__file__).parents[1] / "airflow/dags/pneumonia_airflow/form.json"
ROOTS = (("radiographs", "some-folder"), ("phantoms", "phantom"))
OF_A_FOLD = {("data", "folds"), ("data", "fold")}
"""Settings that a cross-validation makes for each training; no form has them, since a fold's model is not delivered."""
LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "pattern", "not")


def form() -> list[dict[str, Any]]:
    """Return one entry per setting: name, section, description, JSON schema, and each profile's value."""
    # without environment and file: the values of a new stack
    values = {
        profile: {kind: resolve(profile, assignments=[f"data.root={root}"], environment={}) for kind, root in ROOTS}
        for profile in PROFILES
    }
    fields = []
    for section, info in Config.model_fields.items():
        if section not in NOT_OF_A_RUN and isinstance(info.annotation, type) and issubclass(info.annotation, Section):
            title = (info.annotation.__doc__ or section).strip().rstrip(".")
            schema = info.annotation.model_json_schema()["properties"]
            keys = [key for key in info.annotation.model_fields if (section, key) not in OF_A_FOLD]
            fields += [_field(section, title, key, schema[key], values) for key in keys]
    return fields


def _field(
    section: str, title: str, key: str, schema: dict[str, Any], values: dict[str, dict[str, Config]]
) -> dict[str, Any]:
    limits: dict[str, Any] = {name: schema[name] for name in LIMITS if name in schema}
    choices = schema.get("enum") or ([schema["const"]] if "const" in schema else None)
    if choices:
        limits["enum"] = [*choices, None]
    defaults = {
        profile: {kind: getattr(getattr(config, section), key) for kind, config in kinds.items()}
        for profile, kinds in values.items()
    }
    if (section, key) == ("data", "root"):  # data.root decides between the two, and is itself always auto
        defaults = {profile: dict.fromkeys(kinds, "auto") for profile, kinds in values.items()}
    return {
        "name": f"{section}.{key}",
        "section": title,
        "description": schema["description"],
        "schema": {"type": [schema["type"], "null"], **limits},
        "defaults": defaults,
    }


def text() -> str:
    """Return the file's content."""
    return "[\n" + ",\n".join(json.dumps(field) for field in form()) + "\n]\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if FORM.read_text(encoding="utf-8") == text() else f"{FORM} is out of date: make form")
    FORM.write_text(text(), encoding="utf-8")
