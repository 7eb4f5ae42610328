"""Promote a version or a run's model by hand, one that the pipeline has not promoted included."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pneumonia.errors import PneumoniaError
from pneumonia.records.model import ModelRecord
from pneumonia.registry import models, moves, registration, verdicts, verified
from pneumonia.registry.folds import refuse_folds
from pneumonia.tracking.client import mlflow_client, translated_errors

if TYPE_CHECKING:
    from mlflow.entities import Run


def promote_version(
    uri: str, name: str, version: str, who: str, why: str, *, against: str | None = None, despite: bool = False
) -> moves.Outcome:
    """Make a registered version the champion.

    Args:
        uri: of the tracking store.
        name: of the registered model.
        version: number or alias.
        who: for the ledger.
        why: for the ledger.
        against: number or alias of the champion that it was compared with; by default the one that is champion now.
        despite: promote the version although its run has not passed the gate or it was withdrawn.

    Raises:
        PneumoniaError: as `promote_run` and `pneumonia.registry.moves.promote`.
        TrackingError: the store cannot be used.
    """
    against = number(uri, name, against) if against else _champion(uri, name)
    return moves.promote(uri, name, version, who, why, against=against, despite=despite)


def promote_run(
    uri: str,
    run_id: str,
    who: str,
    why: str,
    *,
    against: str | None = None,
    name: str | None = None,
    despite: bool = False,
) -> tuple[str, moves.Outcome]:
    """Make a run's model the champion of the name that it was trained for; register it first where needed.

    Args:
        uri: of the tracking store.
        run_id: the run that made the model.
        who: for the ledger.
        why: for the ledger.
        against: number or alias of the champion that it was compared with; by default the one that is champion now.
        name: an error where it is not the model's own name.
        despite: promote the model although the run did not pass the gate, or was never validated, or was withdrawn.

    Returns:
        The registered name and the move.

    Raises:
        ChampionMoved: the champion is another than `against`.
        PneumoniaError: no such run, no model in it, another name, a verdict other than passed, a withdrawn model, or
            one of a fold of a cross-validation.
        TrackingError: the store cannot be used.
    """
    run = _run(uri, run_id)
    with verified.fetched_run(uri, run_id) as (_, record):
        refuse_folds(record.config, f"run {run_id}")
    if name is not None and name != record.name:
        raise PneumoniaError(f"run {run_id} was trained for {record.name}; it cannot become champion of {name}")
    against = number(uri, record.name, against) if against else _champion(uri, record.name)
    if not despite and (failed := verdicts.failed_criteria(uri, run_id)):  # before it is registered
        raise moves.NotApproved(moves.not_approved(run_id, failed))
    version = _register(uri, run, record)
    done = moves.promote(uri, record.name, version.version, who, why, against=against, despite=despite)
    return record.name, done


def number(uri: str, name: str, version: str) -> str:
    """Return the number of a version that is given by its number, which need not exist, or by an alias.

    Raises:
        PneumoniaError: there is no such alias.
        TrackingError: the registry cannot be reached.
    """
    return version if version.isdecimal() else models.get(uri, name, version).version


def _run(uri: str, run_id: str) -> Run:
    client = mlflow_client(uri)
    with translated_errors(uri, f"find run {run_id}"):
        return client.get_run(run_id)


def _champion(uri: str, name: str) -> str | None:
    held = models.champion(uri, name)
    return None if held is None else held.version


def _register(uri: str, run: Run, record: ModelRecord) -> models.Version:
    outputs = run.outputs.model_outputs if run.outputs is not None else []
    if not outputs:
        raise PneumoniaError(f"run {run.info.run_id} logged no model; its training did not finish, so start it again")
    source = f"models:/{outputs[-1].model_id}"
    version = registration.register(uri, record, run.info.run_id, source)
    listed = run.data.tags.get(models.MANIFEST)
    return version if listed is None else registration.register_manifest(uri, version, listed)
