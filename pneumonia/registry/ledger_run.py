"""Store a registered model's ledger in MLflow: the run ``ledger`` of the experiment ``champion ledger: NAME``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

from pydantic import ValidationError

from pneumonia.errors import PneumoniaError
from pneumonia.records.signature import ListHead
from pneumonia.registry import chain
from pneumonia.registry.append_only import AppendOnly, Held
from pneumonia.registry.ledger import Move

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from pneumonia.registry.rest import RegistryClient

KEY = "move-"
APPLIED = "ledger-applied"
"""Tag of a registered model: the number of the move that its aliases were last set for."""
EARLIER = "ledger."
"""Start of the registered model's tags that held one move each before the ledger had a run."""


class LedgerDamaged(PneumoniaError):
    """A ledger of which an entry cannot be read, or was changed, removed or reordered."""


class Ledger(NamedTuple):
    """A ledger that was read.

    Attributes:
        moves: oldest first.
        texts: of the entries, as they are stored.
    """

    moves: list[Move]
    texts: list[str]


class Examined(NamedTuple):
    """What can still be said of a ledger, damaged or not.

    Attributes:
        moves: the entries that can be read, oldest first.
        problems: in sentences; none for an intact ledger.
        unchained: number of entries of earlier releases, which did not chain them.
        head: of the ledger as it is; None where there is none.
        entries: texts by their keys, in order.
    """

    moves: list[Move]
    problems: list[str]
    unchained: int
    head: ListHead | None
    entries: dict[str, str]


def experiment_name(name: str) -> str:
    """Return the name of the experiment that holds the ledger of a registered model."""
    return f"champion ledger: {name}"


def read(client: RegistryClient, name: str, tags: Mapping[str, str]) -> Ledger:
    """Return the ledger of a registered model.

    Args:
        client: of the registry.
        name: of the registered model.
        tags: of the registered model, which hold the moves of earlier releases until the next move.

    Raises:
        LedgerDamaged: an entry was damaged, changed, removed or reordered.
        PneumoniaError: the ledger was deleted.
    """
    kept = _list(client, name)
    held = _held(kept, tags)
    moves = [_parse(name, key, text) for key, text in held.entries.items()]
    if problems := [*kept.problems(held), *_lost(held, tags)]:
        raise LedgerDamaged(
            f"{name}: the ledger is not as it was written: {'; '.join(problems)}. The champion in use stays, and none "
            f"is promoted, rolled back or newly served; see pneumonia history --name {name}, and restore the run of "
            f"the experiment {experiment_name(name)!r} in the database from a backup"
        )
    return Ledger(moves, list(held.entries.values()))


def examine(client: RegistryClient, name: str, tags: Mapping[str, str]) -> Examined:
    """Return what can still be said of a ledger.

    Raises:
        PneumoniaError: the ledger was deleted.
    """
    kept = _list(client, name)
    held = _held(kept, tags)
    moves, problems = [], []
    for key, text in held.entries.items():
        try:
            moves.append(_parse(name, key, text))
        except LedgerDamaged:
            problems.append(f"{key} cannot be read: {text[:80]!r}")
    head = chain.head_of(kept.title, list(held.entries.values())) if held.entries else None
    return Examined(
        moves, [*problems, *kept.problems(held), *_lost(held, tags)], chain.unchained(held.entries), head, held.entries
    )


def compare(name: str, found: Examined, head: ListHead) -> list[str]:
    """Return, in sentences, what of a ledger is not as it was when this head was signed."""
    return chain.against_head(KEY, experiment_name(name), found.entries, head)


def earlier_moves(tags: Mapping[str, str]) -> int:
    """Return how many moves the registered model's own tags hold, whose aliases were set by an earlier release."""
    return sum(key.startswith(EARLIER) for key in tags)


def follow(name: str, past: Sequence[str]) -> str:
    """Return what a move after these past entries holds as `Move.previous`."""
    return chain.follow(experiment_name(name), past)


def append(client: MlflowClient, name: str, past: Sequence[str], move: Move) -> bool:
    """Append a move to exactly these past entries; make the ledger where there is none.

    May be repeated after a lost response: the same move at the same place is accepted again.

    Returns:
        Whether it was appended; False where another move has followed the past ones.

    Raises:
        PneumoniaError: the ledger was deleted.
    """
    return _list(client, name).append(past, move.model_dump_json())


def _list(client: RegistryClient, name: str) -> AppendOnly:
    # a client that only reads has all that `read` needs
    return AppendOnly(cast("MlflowClient", client), experiment_name(name), "ledger", KEY, {"registered_model": name})


def _held(kept: AppendOnly, tags: Mapping[str, str]) -> Held:
    return kept.read() or Held({key: tags[key] for key in sorted(tags) if key.startswith(EARLIER)}, None)


def _lost(held: Held, tags: Mapping[str, str]) -> list[str]:
    """Say in a sentence that the aliases were set for a move that is not there; `tags` are no newer than the ledger."""
    applied = int(tags.get(APPLIED, 0))
    if applied <= len(held.entries):
        return []
    return [f"there are {len(held.entries)} moves, and the aliases were set for move {applied} (tag {APPLIED})"]


def _parse(name: str, key: str, text: str) -> Move:
    try:
        return Move.model_validate_json(text)
    except ValidationError:
        raise LedgerDamaged(
            f"{name}: the entry {key} of the ledger was damaged: {text[:80]!r}; restore the database from a backup, or "
            f"correct the parameter {key} of the run in the experiment {experiment_name(name)!r} in the database"
        ) from None
