"""Keep with a registered version how its metrics change with the images (`pneumonia evaluate --robustness`)."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pneumonia.files import write_text
from pneumonia.records.assessment import Robustness
from pneumonia.registry.models import Version
from pneumonia.tracking.client import load_json, mlflow_client, with_retries

FOLDER, DOCUMENT = "robustness", "robustness.json"
TAG = "robustness"
"""Tag of a version that has such a document: where it is among the files of the version's run."""


def store(uri: str, version: Version, found: Robustness) -> None:
    """Keep the document with the version's run, and name it in the version's tags; a later one replaces it.

    Raises:
        TrackingError: the store cannot be reached.
    """
    client, place = mlflow_client(uri), f"{FOLDER}/{DOCUMENT}"
    with tempfile.TemporaryDirectory() as folder:
        file = write_text(Path(folder) / DOCUMENT, found.model_dump_json(indent=1))

        def attempt() -> None:
            client.log_artifact(version.run_id, str(file), FOLDER)
            client.set_model_version_tag(version.name, version.version, TAG, place)

        with_retries(uri, f"keep the robustness of {version.uri}", attempt)


def find(uri: str, version: Version) -> Robustness | None:
    """Return the document of a version; None where its robustness was not measured.

    Raises:
        TrackingError: the store cannot be reached, or the file is gone or damaged.
    """
    client = mlflow_client(uri)
    tags = with_retries(
        uri,
        f"read the tags of {version.uri}",
        lambda: dict(client.get_model_version(version.name, version.version).tags),
    )
    if TAG not in tags:
        return None
    return Robustness.model_validate(load_json(uri, version.run_id, tags[TAG]))
