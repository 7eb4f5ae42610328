"""Register a run's model as a version, and the digests of what belongs to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pneumonia.records.model import ModelRecord
from pneumonia.registry import models
from pneumonia.registry.folds import refuse_folds
from pneumonia.registry.models import EXPORT, MANIFEST, Version
from pneumonia.timing import timed
from pneumonia.tracking.client import mlflow_client, with_retries

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


@timed("registering")
def register(uri: str, record: ModelRecord, run_id: str, source_uri: str) -> Version:
    """Register a run's model; the same weights of the same run give the version that they already have.

    Args:
        uri: of the registry.
        record: of the model; says its registered name, and what stands in the version's tags.
        run_id: the run that made the model.
        source_uri: the logged model, ``models:/m-…``.

    Raises:
        PneumoniaError: the model is of one fold of a cross-validation.
        TrackingError: the registry cannot be reached.
    """
    refuse_folds(record.config, f"run {run_id}")
    client, name = mlflow_client(uri), record.name

    def attempt() -> Version:
        _create(client, name)
        for version in models.versions_of(client, name):
            if (version.run_id, version.weights_digest) == (run_id, record.weights_digest):
                return version
        # By the artifact location: a store without a server would look up a `models:/` source in MLflow's process-wide
        # default store instead of in itself.
        identity = source_uri.removeprefix("models:/")
        place = client.get_logged_model(identity).artifact_location
        made = client.create_model_version(name, place, run_id=run_id, tags=_tags(record), model_id=identity)
        return models.version_of(made, client.get_registered_model(name))

    return with_retries(uri, f"register {name}", attempt)


def register_export(uri: str, version: Version, digest: str) -> Version:
    """Register the digest of a version's exported model, once: an export does not change.

    Raises:
        TrackingError: the registry cannot be reached.
    """
    return _register_digest(uri, version, EXPORT, digest, "the export")


def register_manifest(uri: str, version: Version, digest: str, *, upgraded: bool = False) -> Version:
    """Register the digest of the list of a version's files, once: the files do not change.

    Args:
        uri: of the registry.
        version: whose list it is.
        digest: of the list.
        upgraded: in place of the list of an earlier release, which names no run.

    Raises:
        TrackingError: the registry cannot be reached.
    """
    if upgraded and version.manifest_digest != digest:
        version = version.model_copy(update={MANIFEST: ""})
    return _register_digest(uri, version, MANIFEST, digest, "the list of the files")


def _register_digest(uri: str, version: Version, tag: str, digest: str, what: str) -> Version:
    """Set a version's tag, which is also the name of its field, unless it is set."""
    if getattr(version, tag):
        return version
    client = mlflow_client(uri)
    with_retries(
        uri,
        f"register {what} of {version.uri}",
        lambda: client.set_model_version_tag(version.name, version.version, tag, digest),
    )
    return version.model_copy(update={tag: digest})


def _tags(record: ModelRecord) -> dict[str, str]:
    return {
        "weights_digest": record.weights_digest,
        "model_digest": record.model_digest(),
        "architecture": record.architecture,
        "phantom": str(record.phantom).lower(),
        "profile": str(record.config.get("profile", "unknown")),
        "data_digest": record.data_digest,
        "dvc_md5": record.dvc_md5 or "none",
    }


def _create(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
