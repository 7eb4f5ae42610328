"""Promote a run's model by hand, one that the pipeline has not promoted included."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pneumonia.errors import PneumoniaError
from pneumonia.records.model import WEIGHTS_ARTIFACT, ModelRecord, read_record
from pneumonia.registry import models
from pneumonia.registry.ledger import Move
from pneumonia.tracking.client import download_artifact, mlflow_client, translated_errors

if TYPE_CHECKING:
    from mlflow.entities import Run

VERDICT_TAG, PASSED = "verdict", "passed"


def promote_run(
    uri: str, run_id: str, who: str, why: str, *, name: str | None = None, despite: bool = False
) -> tuple[str, Move]:
    """Make a run's model the champion of the name that it was trained for; register it first where needed.

    Args:
        uri: of the tracking store.
        run_id: the run that made the model.
        who: for the ledger.
        why: for the ledger.
        name: an error where it is not the model's own name.
        despite: promote the model although the run did not pass the gate, or was never validated.

    Returns:
        The registered name and the move.

    Raises:
        PneumoniaError: no such run, no model in it, another name, or a verdict other than passed.
        TrackingError: the store cannot be used.
    """
    client = mlflow_client(uri)
    with translated_errors(uri, f"find run {run_id}"):
        run = client.get_run(run_id)
    with tempfile.TemporaryDirectory() as folder:
        record = read_record(download_artifact(uri, run_id, WEIGHTS_ARTIFACT, Path(folder)))
    if name is not None and name != record.name:
        raise PneumoniaError(f"run {run_id} was trained for {record.name}; it cannot become champion of {name}")
    verdict = run.data.tags.get(VERDICT_TAG, "never validated")
    if verdict != PASSED and not despite:
        raise PneumoniaError(
            f"run {run_id} has not passed the gate ({verdict}); its report, an artifact of the run, gives the reasons. "
            "To promote it nevertheless: --despite-verdict, which is noted in the ledger"
        )
    if verdict != PASSED:
        why = f"{why} [despite the verdict: {verdict}]"
    version = _register(uri, run, record)
    return record.name, models.promote(uri, record.name, version.version, who, why)


def _register(uri: str, run: Run, record: ModelRecord) -> models.Version:
    outputs = run.outputs.model_outputs if run.outputs is not None else []
    if not outputs:
        raise PneumoniaError(f"run {run.info.run_id} logged no model; its training did not finish, so start it again")
    source = f"models:/{outputs[-1].model_id}"
    return models.register(uri, record, run.info.run_id, source)
