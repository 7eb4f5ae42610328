"""Fetch all artifacts of a run, and find its page."""

from __future__ import annotations

from pathlib import Path

from pneumonia.tracking.client import download_artifact, mlflow_client, with_retries
from pneumonia.tracking.run import run_page


def download_all(uri: str, run_id: str, folder: Path) -> dict[str, Path]:
    """Download a run's artifacts into a folder; its logged models are none of them.

    Returns:
        The files by their path in the run, sorted.

    Raises:
        TrackingError: there is no such run, or the store cannot be reached.
    """
    root = download_artifact(uri, run_id, "", folder)
    found = (path for path in root.rglob("*") if path.is_file())
    return dict(sorted((path.relative_to(root).as_posix(), path) for path in found))


def page_of(uri: str, run_id: str) -> str | None:
    """Return the address of a run's page; None where no server serves one.

    Raises:
        TrackingError: there is no such run, or the store cannot be reached.
    """
    client = mlflow_client(uri)
    found = with_retries(uri, f"look for run {run_id}", lambda: client.get_run(run_id))
    return run_page(uri, found.info.experiment_id, run_id)
