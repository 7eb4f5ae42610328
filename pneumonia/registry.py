"""The registered models: versions, the aliases ``champion`` and ``previous``, and the ledger of their moves.

The ledger is kept where the aliases are, as tags of the registered model: one ``ledger.<UTC time>.<id>`` a move, added
and never changed. A move is announced in the tag ``ledger-pending`` before the first alias is set and written to the
ledger after the last, so that a process killed in between leaves a state that the next call completes.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from pneumonia import store
from pneumonia.errors import PneumoniaError
from pneumonia.store import patiently

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel
    from mlflow.tracking import MlflowClient

CHAMPION, PREVIOUS = "champion", "previous"
PHANTOM_SUFFIX = "-phantom"
LEDGER, PENDING = "ledger.", "ledger-pending"
MOST_WORDS = 1000  # MLflow's column for a tag's value has 5,000 bytes

logger = logging.getLogger(__name__)


class Version(BaseModel):
    """A version of a registered model."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: str
    run_id: str
    weights_digest: str
    uri: str
    aliases: list[str]
    phantom: bool


class Move(BaseModel):
    """A change of champion. `when` is ISO 8601 in UTC; `from_version` is None for the first champion."""

    model_config = ConfigDict(frozen=True)

    when: str
    who: str
    why: str
    action: Literal["promote", "rollback"]
    from_version: str | None
    to_version: str | None


def champion(uri: str, name: str) -> Version | None:
    """The version that is champion of `name`; None where there is none yet.

    Raises:
        TrackingError: the registry cannot be reached.
    """
    client = store.client(uri)
    with store.trouble(uri, f"look for the champion of {name}"):
        model = _model(client, name)
        held = _aliases(model).get(CHAMPION)
        return None if model is None or held is None else _version(client.get_model_version(name, held), model)


def get(uri: str, name: str, version_or_alias: str) -> Version:
    """The version with this number or alias.

    Raises:
        PneumoniaError: there is none; the message names what there is.
        TrackingError: the registry cannot be reached.
    """
    client = store.client(uri)
    with store.trouble(uri, f"look for {name} {version_or_alias}"):
        return _get(client, name, version_or_alias)


def versions(uri: str, name: str) -> list[Version]:
    """All versions of `name`, oldest first; empty where the name is unknown.

    Raises:
        TrackingError: the registry cannot be reached.
    """
    client = store.client(uri)
    with store.trouble(uri, f"list the versions of {name}"):
        return _versions(client, name)


def register(
    uri: str, name: str, run_id: str, source_uri: str, weights_digest: str, phantom: bool, tags: Mapping[str, str]
) -> Version:
    """Register a run's model; the same weights of the same run give the version that they already have.

    Args:
        uri: of the registry.
        name: registered name.
        run_id: the run that made the model.
        source_uri: the logged model, ``models:/m-…``.
        weights_digest: sha256 in hex.
        phantom: trained on phantoms.
        tags: further tags of the version.

    Raises:
        TrackingError: the registry cannot be reached.
    """
    client = store.client(uri)
    labels = {**tags, "weights_digest": weights_digest, "phantom": str(phantom).lower()}

    def attempt() -> Version:
        _create(client, name)
        for version in _versions(client, name):
            if (version.run_id, version.weights_digest) == (run_id, weights_digest):
                return version
        # By its place: a store that is opened here and not behind a server would look a `models:/` source up in
        # MLflow's process-wide default store instead of itself.
        identity = source_uri.removeprefix("models:/")
        place = client.get_logged_model(identity).artifact_location
        client.create_model_version(name, place, run_id=run_id, tags=labels, model_id=identity)
        return _versions(client, name)[-1]

    return patiently(uri, f"register {name}", attempt)


def promote(uri: str, name: str, version: str, who: str, why: str) -> Move:
    """Make `version` the champion and the old champion the previous one.

    Done twice, it changes nothing and returns the same move.

    Raises:
        PneumoniaError: there is no such version, or it was trained on phantoms and the name is not a phantoms' one.
        TrackingError: the registry cannot be reached.
    """
    client = store.client(uri)
    with store.trouble(uri, f"promote {name} {version}"):
        wanted = _get(client, name, version)
        if wanted.phantom and not name.endswith(PHANTOM_SUFFIX):
            raise PneumoniaError(
                f"{wanted.uri} was trained on phantoms, so it cannot become champion of {name}; "
                f"register it under a name that ends in {PHANTOM_SUFFIX}"
            )
        _settle(client, name)
        holder, moves = _holder(client, name, CHAMPION), _history(client, name)
        if holder == wanted.version:
            if moves and moves[-1].to_version == wanted.version:
                return moves[-1]
            move = _next(moves, who, why, "promote", moves[-1].to_version if moves else None, wanted.version)
            _append(client, name, move)  # the alias was set by hand: the ledger catches up
            return move
        return _apply(client, name, _next(moves, who, why, "promote", holder, wanted.version))


def rollback(uri: str, name: str, who: str, why: str) -> Move:
    """Make the previous version the champion again, and the champion the previous one.

    Where an earlier rollback was cut short, this completes it and no more.

    Raises:
        PneumoniaError: there is nothing to go back to.
        TrackingError: the registry cannot be reached.
    """
    client = store.client(uri)
    with store.trouble(uri, f"roll back {name}"):
        settled = _settle(client, name)
        if settled is not None and settled.action == "rollback":
            return settled
        now, before = _holder(client, name, CHAMPION), _holder(client, name, PREVIOUS)
        if before is None or before == now:
            there = ", ".join(version.version for version in _versions(client, name)) or "none"
            raise PneumoniaError(
                f"{name}: there is no previous champion to go back to (champion: {now or 'none'}, versions: {there}); "
                f"to choose one: pneumonia promote VERSION --name {name}"
            )
        return _apply(client, name, _next(_history(client, name), who, why, "rollback", now, before))


def history(uri: str, name: str) -> list[Move]:
    """The ledger of `name`, oldest move first; empty where there is none.

    Raises:
        TrackingError: the registry cannot be reached.
    """
    client = store.client(uri)
    with store.trouble(uri, f"read the ledger of {name}"):
        return _history(client, name)


def _apply(client: MlflowClient, name: str, move: Move) -> Move:
    client.set_registered_model_tag(name, PENDING, move.model_dump_json())
    client.set_registered_model_alias(name, CHAMPION, str(move.to_version))
    return _complete(client, name, move)


def _complete(client: MlflowClient, name: str, move: Move) -> Move:
    """What follows once the champion's alias is set."""
    if move.from_version is not None:
        client.set_registered_model_alias(name, PREVIOUS, move.from_version)
    if move not in _history(client, name):
        _append(client, name, move)
    client.delete_registered_model_tag(name, PENDING)
    return move


def _settle(client: MlflowClient, name: str) -> Move | None:
    """Complete a move that was cut short after the champion's alias was set; drop one cut short before.

    Returns:
        The completed move.
    """
    model = _model(client, name)
    text = None if model is None else model.tags.get(PENDING)
    if text is None:
        return None
    move = Move.model_validate_json(text)
    if _aliases(model).get(CHAMPION) == move.to_version:
        logger.warning("%s: completing a %s of %s that was cut short", name, move.action, move.when)
        return _complete(client, name, move)
    logger.warning("%s: a %s of %s was cut short before it took effect", name, move.action, move.when)
    client.delete_registered_model_tag(name, PENDING)
    return None


def _append(client: MlflowClient, name: str, move: Move) -> None:
    stamp = datetime.fromisoformat(move.when).strftime("%Y%m%dT%H%M%S.%fZ")
    client.set_registered_model_tag(name, f"{LEDGER}{stamp}.{uuid.uuid4().hex[:8]}", move.model_dump_json())


def _next(
    moves: list[Move], who: str, why: str, action: Literal["promote", "rollback"], source: str | None, target: str
) -> Move:
    """A move that is later than all `moves`, whatever the clock says."""
    when = datetime.now(UTC)
    if moves:
        when = max(when, datetime.fromisoformat(moves[-1].when) + timedelta(microseconds=1))
    return Move(
        when=when.isoformat(timespec="microseconds"),
        who=who[:MOST_WORDS],
        why=why[:MOST_WORDS],
        action=action,
        from_version=source,
        to_version=target,
    )


def _history(client: MlflowClient, name: str) -> list[Move]:
    model = _model(client, name)
    tags = {} if model is None else model.tags
    return [Move.model_validate_json(tags[key]) for key in sorted(tags) if key.startswith(LEDGER)]


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


def _aliases(model: RegisteredModel | None) -> dict[str, str]:
    return {} if model is None else {alias: str(version) for alias, version in model.aliases.items()}


def _holder(client: MlflowClient, name: str, alias: str) -> str | None:
    return _aliases(_model(client, name)).get(alias)


def _get(client: MlflowClient, name: str, version_or_alias: str) -> Version:
    model = _model(client, name)
    wanted = _aliases(model).get(version_or_alias, version_or_alias)
    known = _versions(client, name)
    for version in known:
        if version.version == wanted:
            return version
    there = (
        ", ".join(version.version + "".join(f" ({alias})" for alias in version.aliases) for version in known) or "none"
    )
    raise PneumoniaError(f"{name}: there is no version or alias {version_or_alias!r}; there are: {there}")


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
