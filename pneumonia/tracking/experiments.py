"""Open the experiment that runs belong to, and find or create the run of a training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pneumonia.config.schema import Config
from pneumonia.credentials import redacted
from pneumonia.environment import account
from pneumonia.errors import TrackingError
from pneumonia.tracking.client import address, tracking_uri

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Run
    from mlflow.tracking import MlflowClient

KEY_TAG = "pneumonia.key"
"""Tag with the training's key, by which an unfinished run is found again."""


def open_experiment(client: MlflowClient, config: Config) -> str:
    """Return the id of the configured experiment, which is created where it is missing.

    Raises:
        TrackingError: it was deleted, or stores its files in a work folder that has since been moved.
    """
    place = artifact_location(config)
    found = client.get_experiment_by_name(config.tracking.experiment)
    if found is None:
        found = _create(client, config.tracking.experiment, place)
    _check(found, config, place)
    return str(found.experiment_id)


def _create(client: MlflowClient, name: str, place: str | None) -> Experiment:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_experiment(client.create_experiment(name, artifact_location=place))
    except MlflowException as error:
        made = client.get_experiment_by_name(name)
        if error.error_code != "RESOURCE_ALREADY_EXISTS" or made is None:
            raise
        return made  # another process created it first


def artifact_location(config: Config) -> str | None:
    """Return where a new experiment stores its files: next to an SQLite database, or None for the server's default."""
    if address(tracking_uri(config)).startswith("sqlite:"):
        return (Path(config.work).resolve() / "artifacts").as_uri()
    return None


def _check(found: Experiment, config: Config, place: str | None) -> None:
    uri = redacted(address(tracking_uri(config)))
    if found.lifecycle_stage != "active":
        raise TrackingError(
            f"{uri}: the experiment {found.name!r} was deleted; choose another tracking.experiment, or restore it: "
            f"mlflow experiments restore -x {found.experiment_id}"
        )
    # MLflow would continue to write to the old folder, and would create it again where it is missing.
    if place is not None and config.tracking.uri == "auto" and found.artifact_location != place:
        raise TrackingError(
            f"{uri}: this database was created in another folder: the experiment {found.name!r} stores its files in "
            f"{found.artifact_location}; move the work folder back, or choose a new one with --set work=DIR"
        )


def open_run(client: MlflowClient, experiment: str, key: str, name: str, tags: Mapping[str, str]) -> tuple[Run, bool]:
    """Return the experiment's unfinished run with this key, otherwise a new one; and whether it existed.

    A run that a registered version refers to is never begun again, whatever its status: its files are the version's.
    """
    found = client.search_runs(
        [experiment],
        filter_string=f"tags.`{KEY_TAG}` = '{key}' and attributes.status != 'FINISHED'",
        order_by=["attributes.start_time DESC"],
    )
    for run in found:
        if not is_registered(client, run.info.run_id):
            return run, True
    labels = {"mlflow.user": account(), **tags, KEY_TAG: key}
    return client.create_run(experiment, tags=labels, run_name=name), False


def is_registered(client: MlflowClient, run_id: str) -> bool:
    """Return whether a registered version refers to this run."""
    return bool(client.search_model_versions(f"run_id = '{run_id}'", max_results=1))
