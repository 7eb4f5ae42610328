"""Models as a training leaves them, without the training: weights drawn at random, in a file or in a run."""

from __future__ import annotations

from pathlib import Path

from pneumonia.config.schema import Config, PreprocessConfig
from pneumonia.modelling.network import build_network
from pneumonia.modelling.weights import save_weights, state_digest
from pneumonia.records.model import ModelRecord
from pneumonia.tracking.client import mlflow_client
from pneumonia.tracking.run import Run


def save(path: Path, name: str, seed: int = 0) -> Path:
    """A model's file; phantoms' where the name says so."""
    state = build_network("none", seed=seed).state_dict()
    record = ModelRecord(
        name=name,
        phantom=name.endswith("-phantom"),
        preprocess=PreprocessConfig(size=32),
        threshold=0.5,
        weights_digest=state_digest(state),
        data_digest="d",
        split_digest="s",
        config={"profile": "full"},
        library_version="0",
    )
    save_weights(path, state, record)
    return path


def leave_run(config: Config, weights: Path | None, verdict: str | None = "passed", key: str = "key") -> str:
    """The id of a finished run with these weights and this verdict."""
    run = Run.open(config, key, "name", {})
    if weights is not None:
        run.log_file(weights, "weights")
        _log_model(run)
    if verdict is not None:
        run.set_tags({"verdict": verdict})
    run.finish()
    return run.id


def _log_model(run: Run) -> None:
    """What MLflow knows of a logged model, without its graph, which takes seconds to export."""
    from mlflow.entities import LoggedModelOutput

    client = mlflow_client(run.uri)
    experiment = client.get_run(run.id).info.experiment_id
    logged = client.create_logged_model(experiment, "model", source_run_id=run.id)
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run.id, [LoggedModelOutput(logged.model_id, step=0)])
