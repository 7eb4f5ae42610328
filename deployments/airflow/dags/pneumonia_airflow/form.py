"""Define the form of a manual run, from the schema of the library's configuration.

``form.json`` is written from `pneumonia/config/schema.py` by `make form` in the library's environment, because
Airflow's environment cannot import the library.
"""

from __future__ import annotations

import json
from pathlib import Path

from airflow.sdk import Param

FORM = json.loads(Path(__file__).with_name("form.json").read_text(encoding="utf-8"))


def params(profile: str) -> dict[str, Param]:
    """Return the DAG's params: approval and fresh, then every setting; an empty one means the profile's value."""
    own = {
        "approval": Param(False, type="boolean", description="Wait for a person's approval before the promotion"),
        "fresh": Param(
            False, type="boolean", description="Train again, even if this training is finished or has a checkpoint"
        ),
        "trace": Param("", type="string", description="Id of the loop that this run belongs to; empty for none"),
    }
    settings = {
        field["name"]: Param(
            None,
            section=field["section"],
            description=_description(field, profile),
            title=field["name"],
            **field["schema"],
        )
        for field in FORM
    }
    return own | settings


def _description(field: dict, profile: str) -> str:
    value, phantom = field["defaults"][profile].values()
    default = json.dumps(value) if value == phantom else f"{json.dumps(value)}, with phantoms {json.dumps(phantom)}"
    return f"{field['description']}. Empty: {default}"
