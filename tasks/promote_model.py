"""Last step: register a model that has passed the gate and make it champion; a model that has not is not registered."""

from __future__ import annotations

from pathlib import Path

from pneumonia.config.schema import Config
from pneumonia.progress import Progress, silent
from pneumonia.records.model import read_record
from pneumonia.records.steps import Promotion, TrainedModel, Validation
from pneumonia.registry import ledger, models


def promote_model(
    trained: TrainedModel, validation: Validation, config: Config, progress: Progress = silent
) -> Promotion:
    """Register the model and make it champion, if its verdict is passed; a second call changes nothing.

    Raises:
        PneumoniaError: the registry cannot be reached, or phantoms would become champion of real radiographs.
    """
    name, uri, verdict = config.registry.name, trained.tracking_uri, validation.verdict
    if not verdict.passed:
        reason = "; ".join(reason.text for reason in verdict.reasons if not reason.passed)
        holder = models.champion(uri, name)
        current = holder.version if holder else None
        return Promotion(name=name, promoted=False, version=None, previous=current, reason=reason)
    progress(0.3, 1.0, f"registering {name}")
    version = models.register(uri, read_record(Path(trained.weights)), trained.run_id, trained.model_uri)
    why = "; ".join(reason.text for reason in verdict.reasons)
    move = models.promote(uri, name, version.version, ledger.who(), why)
    return Promotion(name=name, promoted=True, version=version.version, previous=move.from_version, reason=why)
