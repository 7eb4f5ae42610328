"""Manage registered models: versions, the aliases ``champion`` and ``previous``, and the ledger of their moves.

A move is recorded as pending before the champion's alias is set, and written to the ledger after the last alias, so
that the next call completes the move of a killed process. MLflow has no compare-and-set: of two promotions in the same
second both are in the ledger, and the later one is champion.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from pneumonia.errors import PneumoniaError
from pneumonia.records.model import ModelRecord
from pneumonia.registry import ledger
from pneumonia.registry.ledger import Move
from pneumonia.tracking.client import mlflow_client, store_is_new, translated_errors, with_retries

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel
    from mlflow.tracking import MlflowClient


CHAMPION, PREVIOUS = "champion", "previous"
PHANTOM_SUFFIX = "-phantom"

logger = logging.getLogger(__name__)


class Version(BaseModel):
    """A version of a registered model.

    Attributes:
        name: of the registered model.
        version: its number.
        run_id: the run that made it.
        weights_digest: sha256 of the weights in hex; empty where it was not registered by this project.
        uri: ``models:/name/3``.
        aliases: sorted.
        phantom: trained on phantoms.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    version: str
    run_id: str
    weights_digest: str
    uri: str
    aliases: list[str]
    phantom: bool


def champion(uri: str, name: str) -> Version | None:
    """Return the version that is champion of `name`; None where there is none yet.

    Raises:
        TrackingError: the registry cannot be reached.
    """
    return next((version for version in versions(uri, name) if CHAMPION in version.aliases), None)


def champions(uri: str) -> list[Version]:
    """Return the champions of all names.

    Raises:
        TrackingError: the registry cannot be reached.
    """
    if store_is_new(uri):
        return []
    client = mlflow_client(uri)
    with translated_errors(uri, "list the models"):
        names = sorted(model.name for model in client.search_registered_models(max_results=1000))
    return [held for name in names if (held := champion(uri, name)) is not None]


def get(uri: str, name: str, version_or_alias: str) -> Version:
    """Return the version with this number or alias.

    Raises:
        PneumoniaError: there is none; the message lists the versions that exist.
        TrackingError: the registry cannot be reached.
    """
    known = versions(uri, name)
    for version in known:
        if version_or_alias == version.version or version_or_alias in version.aliases:
            return version
    raise PneumoniaError(f"{name}: there is no version or alias {version_or_alias!r}; there are: {_listed(known)}")


def versions(uri: str, name: str) -> list[Version]:
    """Return all versions of `name`, oldest first; empty where the name is unknown.

    Raises:
        TrackingError: the registry cannot be reached.
    """
    if store_is_new(uri):
        return []
    client = mlflow_client(uri)
    with translated_errors(uri, f"list the versions of {name}"):
        return _versions(client, name)


def register(uri: str, record: ModelRecord, run_id: str, source_uri: str) -> Version:
    """Register a run's model; the same weights of the same run give the version that they already have.

    Args:
        uri: of the registry.
        record: of the model; says its registered name, and what stands in the version's tags.
        run_id: the run that made the model.
        source_uri: the logged model, ``models:/m-…``.

    Raises:
        TrackingError: the registry cannot be reached.
    """
    client, name = mlflow_client(uri), record.name

    def attempt() -> Version:
        _create(client, name)
        for version in _versions(client, name):
            if (version.run_id, version.weights_digest) == (run_id, record.weights_digest):
                return version
        # By the artifact location: a store without a server would look up a `models:/` source in MLflow's process-wide
        # default store instead of in itself.
        identity = source_uri.removeprefix("models:/")
        place = client.get_logged_model(identity).artifact_location
        made = client.create_model_version(name, place, run_id=run_id, tags=_tags(record), model_id=identity)
        return _version(made, client.get_registered_model(name))

    return with_retries(uri, f"register {name}", attempt)


def _tags(record: ModelRecord) -> dict[str, str]:
    return {
        "weights_digest": record.weights_digest,
        "architecture": record.architecture,
        "phantom": str(record.phantom).lower(),
        "profile": str(record.config.get("profile", "unknown")),
        "data_digest": record.data_digest,
        "dvc_md5": record.dvc_md5 or "none",
    }


def promote(uri: str, name: str, version: str, who: str, why: str) -> Move:
    """Make `version` (a number or an alias) the champion, and the old champion the previous one.

    A second call changes nothing and returns the same move.

    Raises:
        PneumoniaError: there is no such version, it was not registered by this project, or it was trained on phantoms
            and the name is not one for phantoms.
        TrackingError: the registry cannot be reached.
    """
    wanted = get(uri, name, version)
    _check_origin(wanted)
    client = mlflow_client(uri)
    with translated_errors(uri, f"promote {name} {version}"):
        _resolve_pending(client, name)
        model = client.get_registered_model(name)
        holder, past = _aliases(model).get(CHAMPION), ledger.moves(name, model.tags)
        if holder != wanted.version:
            return _apply(client, name, ledger.compose(past, who, why, "promote", holder, wanted.version))
        if past and past[-1].to_version == wanted.version:
            return past[-1]
        # The alias was set by hand on MLflow's page, and the ledger lacks the move.
        before = past[-1].to_version if past else None
        move = ledger.compose(past, who, why, "promote", before, wanted.version)
        ledger.append(client, name, move)
        return move


def _check_origin(version: Version) -> None:
    if not version.weights_digest:
        raise PneumoniaError(
            f"{version.uri} has no record of what it was trained on, so it cannot become champion; "
            "choose a version that the pipeline has registered"
        )
    if version.phantom and not version.name.endswith(PHANTOM_SUFFIX):
        raise PneumoniaError(
            f"{version.uri} was trained on phantoms, so it cannot become champion of {version.name}; "
            f"register it under a name that ends in {PHANTOM_SUFFIX}"
        )


def rollback(uri: str, name: str, who: str, why: str) -> Move:
    """Make the previous version the champion again, and the champion the previous one.

    Where an earlier rollback was interrupted, this only completes it.

    Raises:
        PneumoniaError: there is no previous champion.
        TrackingError: the registry cannot be reached.
    """
    known = versions(uri, name)
    if not known:
        raise PneumoniaError(
            f"{name}: no version is registered, so there is no previous champion{_other_champions(uri)}"
        )
    client = mlflow_client(uri)
    with translated_errors(uri, f"roll back {name}"):
        completed = _resolve_pending(client, name)
        if completed is not None and completed.action == "rollback":
            return completed
        model = client.get_registered_model(name)
        now, before = _aliases(model).get(CHAMPION), _aliases(model).get(PREVIOUS)
        if before is None or before == now:
            raise PneumoniaError(
                f"{name}: there is no previous champion to roll back to; versions: {_listed(known)}; "
                f"to choose one: pneumonia promote --name {name} --version VERSION --why TEXT"
            )
        past = ledger.moves(name, model.tags)
        return _apply(client, name, ledger.compose(past, who, why, "rollback", now, before))


def _other_champions(uri: str) -> str:
    names = ", ".join(version.name for version in champions(uri))
    return f"; models with a champion: {names}" if names else "; train one with python flows/pipeline.py"


def history(uri: str, name: str) -> list[Move]:
    """Return the ledger of `name`, oldest move first; empty where there is none.

    Raises:
        PneumoniaError: an entry was damaged.
        TrackingError: the registry cannot be reached.
    """
    if store_is_new(uri):
        return []
    client = mlflow_client(uri)
    with translated_errors(uri, f"read the ledger of {name}"):
        model = _model(client, name)
        return [] if model is None else ledger.moves(name, model.tags)


def _apply(client: MlflowClient, name: str, move: Move) -> Move:
    ledger.announce(client, name, move)
    client.set_registered_model_alias(name, CHAMPION, str(move.to_version))
    return _complete(client, name, move)


def _complete(client: MlflowClient, name: str, move: Move) -> Move:
    """Finish a move whose champion alias is set: alias of the previous champion, ledger, pending tag."""
    if move.from_version is not None:
        client.set_registered_model_alias(name, PREVIOUS, move.from_version)
    if move not in ledger.moves(name, client.get_registered_model(name).tags):
        ledger.append(client, name, move)
    ledger.clear(client, name)
    return move


def _resolve_pending(client: MlflowClient, name: str) -> Move | None:
    """Complete a move that was interrupted after the champion's alias was set; discard one interrupted before.

    Returns:
        The completed move.
    """
    model = client.get_registered_model(name)
    move = ledger.pending(name, model.tags)
    if move is None:
        return None
    if _aliases(model).get(CHAMPION) == move.to_version:
        logger.warning("%s: completing an interrupted %s of %s", name, move.action, move.when)
        return _complete(client, name, move)
    logger.warning("%s: discarding a %s of %s that was interrupted before it took effect", name, move.action, move.when)
    ledger.clear(client, name)
    return None


def _create(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _model(client: MlflowClient, name: str) -> RegisteredModel | None:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _aliases(model: RegisteredModel) -> dict[str, str]:
    return {alias: str(version) for alias, version in model.aliases.items()}


def _listed(known: list[Version]) -> str:
    texts = [version.version + "".join(f" ({alias})" for alias in version.aliases) for version in known]
    return ", ".join(texts) or "none"


def _versions(client: MlflowClient, name: str) -> list[Version]:
    model = _model(client, name)
    if model is None:
        return []
    found, token = [], None
    while True:
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        found += [_version(entry, model) for entry in page]
        token = page.token
        if not token:
            return sorted(found, key=lambda version: int(version.version))


def _version(entry: ModelVersion, model: RegisteredModel) -> Version:
    number = str(entry.version)
    return Version(
        name=entry.name,
        version=number,
        run_id=entry.run_id or "",
        weights_digest=entry.tags.get("weights_digest", ""),
        uri=f"models:/{entry.name}/{number}",
        aliases=sorted(alias for alias, version in _aliases(model).items() if version == number),
        phantom=entry.tags.get("phantom") == "true",
    )
