"""Store a registered model's ledger in MLflow, where one move at a time is appended, whoever else appends.

The ledger is a run of its own, in the experiment ``champion ledger: NAME``: one parameter a move, ``move-000001`` and
so on. MLflow never changes a parameter: the database's primary key (run, parameter) accepts the first writer of a
number and refuses every other, so that each number holds one move, and no move is lost or overwritten. A writer states
the moves that it has seen by the number that it writes to: where another came first, it has to decide anew. That needs
no lease: no clock is compared, and a process that was killed or paused holds nothing that others would wait for.

The run itself must be one for all. It is made in an experiment under a name that nobody else uses, which is then
renamed: experiment names are unique in the database, so that one process succeeds, and the others use its run.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import ValidationError

from pneumonia.errors import PneumoniaError
from pneumonia.registry.ledger import Move

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

KEY = "move-"
EARLIER = "ledger."
"""Start of the registered model's tags that held one move each before the ledger had a run."""


def experiment_name(name: str) -> str:
    """Return the name of the experiment that holds the ledger of a registered model."""
    return f"champion ledger: {name}"


def read(client: MlflowClient, name: str, tags: Mapping[str, str]) -> list[Move]:
    """Return the moves of a registered model, oldest first.

    Args:
        client: of the registry.
        name: of the registered model.
        tags: of the registered model, which hold the moves of earlier releases until the next move.

    Raises:
        PneumoniaError: an entry was damaged, or the ledger was deleted.
    """
    run_id = _find(client, name)
    if run_id is None:
        return _earlier(name, tags)
    found = client.get_run(run_id).data.params
    return [_parse(name, key, found[key]) for key in sorted(found) if key.startswith(KEY)]


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
    from mlflow.exceptions import MlflowException

    run_id = _find(client, name) or _create(client, name, past)
    key = f"{KEY}{len(past) + 1:06d}"
    try:
        client.log_param(run_id, key, move.model_dump_json())
    except MlflowException:
        # Refused because the number is taken, or failed in another way: what the ledger holds decides.
        held = client.get_run(run_id).data.params.get(key)
        if held is None:
            raise
        return held == move.model_dump_json()
    return True


def _find(client: MlflowClient, name: str) -> str | None:
    found = client.get_experiment_by_name(experiment_name(name))
    if found is None:
        return None
    if found.lifecycle_stage != "active":
        raise PneumoniaError(
            f"{name}: the experiment {found.name!r}, which holds the ledger, was deleted; restore it: "
            f"mlflow experiments restore -x {found.experiment_id}"
        )
    runs = client.search_runs([found.experiment_id], max_results=2)
    if len(runs) != 1:
        raise PneumoniaError(
            f"{name}: the experiment {found.name!r} holds {len(runs)} runs instead of the ledger alone; on its page in "
            "MLflow, restore the run 'ledger' or delete the others"
        )
    return str(runs[0].info.run_id)


def _create(client: MlflowClient, name: str, past: Sequence[Move]) -> str:
    from mlflow.exceptions import MlflowException

    title = experiment_name(name)
    # The location is never written to; MLflow's default would make a folder in the working directory.
    made = client.create_experiment(f"{title} ({uuid.uuid4().hex})", artifact_location="mlflow-artifacts:/ledger")
    run = client.create_run(made, run_name="ledger", tags={"registered_model": name}).info.run_id
    for number, move in enumerate(past, 1):
        client.log_param(run, f"{KEY}{number:06d}", move.model_dump_json())
    client.set_terminated(run)
    try:
        client.rename_experiment(made, title)
    except MlflowException:
        other = _find(client, name)  # another process was first, or this one's response was lost
        if other is None:
            raise
        if other != run:
            client.delete_experiment(made)
        return other
    return str(run)


def _earlier(name: str, tags: Mapping[str, str]) -> list[Move]:
    return [_parse(name, key, tags[key]) for key in sorted(tags) if key.startswith(EARLIER)]


def _parse(name: str, key: str, text: str) -> Move:
    try:
        return Move.model_validate_json(text)
    except ValidationError:
        raise PneumoniaError(
            f"{name}: the entry {key} of the ledger was damaged: {text[:80]!r}; restore the database from a backup, or "
            f"correct the parameter {key} of the run in the experiment {experiment_name(name)!r} in the database"
        ) from None
