"""Bring the mirror in the work folder up to date with the registry, through MLflow's own client."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from pneumonia.errors import TrackingError
from pneumonia.records.export import EXPORT_FOLDER
from pneumonia.registry import dossier_page, signed
from pneumonia.registry.mirror import Champion, Mirror
from pneumonia.registry.reader import describe
from pneumonia.timing import timed
from pneumonia.tracking.client import download_artifact, load_json, mlflow_client, with_retries


@timed("mirror")
def update_mirror(uri: str, work: Path, name: str) -> Champion | None:
    """Write the champion of a name, with its exported files, into the mirror; call it after every move.

    Args:
        uri: of the registry.
        work: folder that holds the mirror.
        name: registered name.

    Returns:
        The champion; None where there is none, and then the mirror names none.

    Raises:
        DataError: its exported files are damaged, or the folder cannot be written.
        TrackingError: the registry cannot be reached, or has no such files.
    """
    client, mirror = mlflow_client(uri), Mirror(work, name)

    def load(run_id: str, path: str) -> Any:
        try:
            return load_json(uri, run_id, path)
        except TrackingError as error:
            if error.permanent:
                return None  # a model that was promoted by hand without a validation has no verdict
            raise

    found = with_retries(uri, f"look up the champion of {name}", lambda: describe(client, name, load))
    if found is None:
        mirror.remove()
        return None
    if found.export_digest:  # a version of an earlier release has no export until `pneumonia export`
        folder = mirror.folder(found, lambda place: fetch_export(uri, found.run_id, place))
        if found.manifest_digest:  # also one that was signed since
            signed.fetch_beside(uri, found.run_id, folder)
        dossier_page.fetch_beside(uri, found.run_id, folder)
    mirror.write(found)
    return found


def fetch_export(uri: str, run_id: str, place: Path) -> None:
    """Download the exported files of a run into a folder.

    Raises:
        TrackingError: there are none, or the store cannot be reached.
    """
    with tempfile.TemporaryDirectory() as folder:
        there = download_artifact(uri, run_id, EXPORT_FOLDER, Path(folder))
        shutil.copytree(there, place, dirs_exist_ok=True)
