"""Record every change of champion of a registered model in an append-only ledger.

The ledger is stored next to the aliases, as tags of the registered model: one tag ``ledger.<UTC time>.<id>`` per move.
A move in progress is in the tag ``ledger-pending``, so that an interrupted move is recognised.
"""

from __future__ import annotations

import getpass
import os
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pneumonia.errors import PneumoniaError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

ENTRY, PENDING = "ledger.", "ledger-pending"
MAX_BYTES = 1500  # of who and of why each: MLflow's column for a tag's value holds 5,000 characters of JSON

Action = Literal["promote", "rollback"]


class Move(BaseModel):
    """A change of champion. `when` is ISO 8601 in UTC; `from_version` is None for the first champion."""

    model_config = ConfigDict(frozen=True)

    when: str
    who: str
    why: str
    action: Action
    from_version: str | None
    to_version: str | None


def who() -> str:
    """Return the name of the person who moves the champion: GIT_AUTHOR_NAME where it is set, otherwise the account."""
    return os.environ.get("GIT_AUTHOR_NAME") or _account()


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's numeric user has no name
        return f"uid {os.getuid()}"


def moves(name: str, tags: Mapping[str, str]) -> list[Move]:
    """Return the moves among a registered model's tags, oldest first.

    Raises:
        PneumoniaError: an entry was damaged.
    """
    return [_parse(name, key, tags[key]) for key in sorted(tags) if key.startswith(ENTRY)]


def pending(name: str, tags: Mapping[str, str]) -> Move | None:
    """Return the move that was begun and not finished, according to the tags; None where there is none.

    Raises:
        PneumoniaError: it was damaged.
    """
    return _parse(name, PENDING, tags[PENDING]) if PENDING in tags else None


def _parse(name: str, key: str, text: str) -> Move:
    try:
        return Move.model_validate_json(text)
    except ValidationError:
        raise PneumoniaError(
            f"{name}: the tag {key} of the registered model is not an entry of the ledger: {text[:80]!r}; "
            "delete or correct the tag on the model's page in MLflow"
        ) from None


def compose(past: list[Move], who: str, why: str, action: Action, from_version: str | None, to_version: str) -> Move:
    """Return a move whose time is later than that of all past ones, even if the clock was set back."""
    when = datetime.now(UTC)
    if past:
        when = max(when, datetime.fromisoformat(past[-1].when) + timedelta(microseconds=1))
    return Move(
        when=when.isoformat(timespec="microseconds"),
        who=_one_line(who),
        why=_one_line(why),
        action=action,
        from_version=from_version,
        to_version=to_version,
    )


def _one_line(text: str) -> str:
    line = "".join(character if character.isprintable() else " " for character in text)
    return line.encode()[:MAX_BYTES].decode(errors="ignore")


def announce(client: MlflowClient, name: str, move: Move) -> None:
    """Record the move that is about to be made as pending."""
    client.set_registered_model_tag(name, PENDING, move.model_dump_json())


def append(client: MlflowClient, name: str, move: Move) -> None:
    """Append a move that was made to the ledger."""
    stamp = datetime.fromisoformat(move.when).strftime("%Y%m%dT%H%M%S.%fZ")
    client.set_registered_model_tag(name, f"{ENTRY}{stamp}.{uuid.uuid4().hex[:8]}", move.model_dump_json())


def clear(client: MlflowClient, name: str) -> None:
    """Delete the pending move."""
    client.delete_registered_model_tag(name, PENDING)
