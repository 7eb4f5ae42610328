"""Define the form of a manual run, from the schema of the library's configuration.

``form.json`` is written from `pneumonia/config/schema.py` by `make form` in the library's environment, because
Airflow's environment cannot import the library.
"""

from __future__ import annotations

import json
from pathlib import Path

from airflow.sdk import Param

OF_THE_FOLDS = {"data.split_seed", "train.seed"}
"""Settings that a cross-validation sets for each of its trainings."""
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
    return own | {field["name"]: _param(field, _description(field, profile)) for field in FORM}


def cross_validation_params() -> dict[str, Param]:
    """Return the params of a cross-validation: profile, folds and seeds, then every setting that it leaves open."""
    own = {
        "profile": Param("full", enum=["fast", "full"], description="Profile whose values the empty fields have"),
        "folds": Param(5, type="integer", minimum=2, maximum=100, description="Folds of the patients, for each seed"),
        "seeds": Param(
            [0],
            type="array",
            items={"type": "integer", "minimum": 0},
            minItems=1,
            description="Seeds, each of a division into folds and of the trainings on it",
        ),
    } | _engine_params()
    open_fields = [field for field in FORM if field["name"] not in OF_THE_FOLDS]
    return own | {
        field["name"]: _param(field, f"{field['description']}. Empty: the profile's") for field in open_fields
    }


def score_archive_params() -> dict[str, Param]:
    """Return the params of the scoring of an archive: what, whereto and with what, then the settings of tracking."""
    own = {
        "source": Param(type="string", minLength=1, description="Folder of images: a path, s3://… or gs://…"),
        "out": Param(type="string", pattern=r"\.parquet$", description="Parquet file to write: a path or URL"),
        "model": Param("", type="string", description="Address of a model; empty: the champion"),
        "profile": Param("full", enum=["fast", "full"], description="Profile whose registry is used"),
    } | _engine_params()
    fields = [field for field in FORM if field["name"].startswith("tracking.")]
    return own | {field["name"]: _param(field, f"{field['description']}. Empty: the profile's") for field in fields}


def _engine_params() -> dict[str, Param]:
    """Return where the work is done."""
    return {
        "engine": Param("local", enum=["local", "ray"], description="local: this worker; ray: a Ray cluster"),
        "address": Param("", type="string", description="Of the Ray cluster: HOST:6379 or ray://HOST:10001"),
    }


def _param(field: dict, description: str) -> Param:
    return Param(None, section=field["section"], description=description, title=field["name"], **field["schema"])


def _description(field: dict, profile: str) -> str:
    value, phantom = field["defaults"][profile].values()
    default = json.dumps(value) if value == phantom else f"{json.dumps(value)}, with phantoms {json.dumps(phantom)}"
    return f"{field['description']}. Empty: {default}"
