"""Store a registered model's ledger in MLflow: the run ``ledger`` of the experiment ``champion ledger: NAME``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from pydantic import ValidationError

from pneumonia.errors import PneumoniaError
from pneumonia.registry.append_only import AppendOnly
from pneumonia.registry.ledger import Move

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from pneumonia.registry.rest import RegistryClient

KEY = "move-"
EARLIER = "ledger."
"""Start of the registered model's tags that held one move each before the ledger had a run."""


def experiment_name(name: str) -> str:
    """Return the name of the experiment that holds the ledger of a registered model."""
    return f"champion ledger: {name}"


def read(client: RegistryClient, name: str, tags: Mapping[str, str]) -> list[Move]:
    """Return the moves of a registered model, oldest first.

    Args:
        client: of the registry.
        name: of the registered model.
        tags: of the registered model, which hold the moves of earlier releases until the next move.

    Raises:
        PneumoniaError: an entry was damaged, or the ledger was deleted.
    """
    entries = _list(client, name).read()
    if entries is None:
        entries = {key: tags[key] for key in sorted(tags) if key.startswith(EARLIER)}
    return [_parse(name, key, text) for key, text in entries.items()]


def earlier_moves(tags: Mapping[str, str]) -> int:
    """Return how many moves the registered model's own tags hold, whose aliases were set by an earlier release."""
    return sum(key.startswith(EARLIER) for key in tags)


def append(client: MlflowClient, name: str, past: Sequence[Move], move: Move) -> bool:
    """Append a move to exactly these past ones; make the ledger where there is none.

    May be repeated after a lost response: the same move at the same place is accepted again.

    Returns:
        Whether it was appended; False where another move has followed the past ones.

    Raises:
        PneumoniaError: the ledger was deleted.
    """
    return _list(client, name).append([each.model_dump_json() for each in past], move.model_dump_json())


def _list(client: RegistryClient, name: str) -> AppendOnly:
    # a client that only reads has all that `read` needs
    return AppendOnly(cast("MlflowClient", client), experiment_name(name), "ledger", KEY, {"registered_model": name})


def _parse(name: str, key: str, text: str) -> Move:
    try:
        return Move.model_validate_json(text)
    except ValidationError:
        raise PneumoniaError(
            f"{name}: the entry {key} of the ledger was damaged: {text[:80]!r}; restore the database from a backup, or "
            f"correct the parameter {key} of the run in the experiment {experiment_name(name)!r} in the database"
        ) from None
