"""Write prefect.yaml: a deployment per profile, with the whole configuration as the initial values of its form.

python flows/deployments.py > prefect.yaml
"""

from __future__ import annotations

import sys
from typing import Any

import yaml

from pneumonia.config.resolve import resolve
from pneumonia.config.schema import DATA_FOLDER, PHANTOM_ROOT, PROFILES, Config

HEAD = (
    "# Written from pneumonia/config/schema.py and pneumonia/config/profiles by "
    "`python flows/deployments.py > prefect.yaml`.\n"
)
MONITOR_SECONDS = 3600
DESCRIPTIONS = {
    "fast": "The documented demo: 10 % of the patients, one epoch",
    "full": "All patients, the whole recipe",
    "phantom": "Synthetic radiographs, needs no data",
}


def deployments() -> dict[str, Config]:
    """Return the configuration of each deployment, independent of the environment."""
    found = {name: resolve(name, assignments=[f"data.root={DATA_FOLDER}"], environment={}) for name in PROFILES}
    return found | {"phantom": resolve("fast", assignments=[f"data.root={PHANTOM_ROOT}"], environment={})}


def document() -> dict[str, Any]:
    """Return prefect.yaml as a tree."""
    return {
        "name": "pneumonia",
        "deployments": [
            {
                "name": name,
                "description": DESCRIPTIONS[name],
                "tags": ["pneumonia", name],
                "entrypoint": "flows/pipeline.py:pipeline",
                "concurrency_limit": 1,  # two trainings on one machine slow each other down
                "parameters": {"config": config.model_dump(mode="json"), "fresh": False},
                "work_pool": {"name": "pneumonia"},
            }
            for name, config in deployments().items()
        ]
        + [_monitor(), _cross_validation(), _score_archive()],
    }


def _monitor() -> dict[str, Any]:
    """Return the deployment of the loop, which looks every hour."""
    return {
        "name": "monitor",
        "description": "Looks at what the service has answered, and retrains or recalibrates where that follows",
        "tags": ["pneumonia", "monitor"],
        "entrypoint": "flows/monitor.py:monitor",
        "parameters": {"config": deployments()["full"].model_dump(mode="json"), "trigger": ""},
        "schedules": [{"interval": MONITOR_SECONDS}],
        "work_pool": {"name": "pneumonia"},
    }


def _cross_validation() -> dict[str, Any]:
    """Return the deployment of a cross-validation of profile full, five folds and one seed by default."""
    return {
        "name": "cross-validation",
        "description": "Measures the whole recipe by cross-validation, a training for each fold; registers nothing",
        "tags": ["pneumonia", "cross-validation"],
        "entrypoint": "flows/cross_validation.py:cross_validation",
        "concurrency_limit": 1,
        "parameters": {"config": deployments()["full"].model_dump(mode="json"), "seeds": [0], "folds": 5},
        "work_pool": {"name": "pneumonia"},
    }


def _score_archive() -> dict[str, Any]:
    """Return the deployment of an archive's scoring, whose form asks for archive and result."""
    return {
        "name": "score-archive",
        "description": "Scores a folder of images, here or in an object store, into a Parquet file",
        "tags": ["pneumonia", "score"],
        "entrypoint": "flows/score_archive.py:scored_archive",
        "parameters": {"config": deployments()["full"].model_dump(mode="json")},
        "work_pool": {"name": "pneumonia"},
    }


if __name__ == "__main__":
    sys.stdout.write(HEAD + yaml.safe_dump(document(), sort_keys=False, allow_unicode=True, width=100))
