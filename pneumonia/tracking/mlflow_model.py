"""Log a network as an MLflow model: pt2, signature, requirements."""

from __future__ import annotations

import copy
import importlib.metadata
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from pneumonia.tracking.client import with_retries

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.models import Model
    from mlflow.tracking import MlflowClient

NAME = "model"
DIGEST = "weights_digest"
"""Key of the record, and tag of the model."""

PACKAGES = ("mlflow", "torch", "numpy")
"""The packages that loading the model needs."""


def log_network(
    client: MlflowClient,
    uri: str,
    run: str,
    experiment: str,
    model: nn.Module,
    example: np.ndarray,
    record: dict[str, Any],
) -> str:
    """Log `model` with the run and return ``models:/m-…``; see `pneumonia.tracking.run.Run.log_model`.

    MLflow's own `mlflow.pytorch.log_model` needs the process-wide active run. This does the same through the client, in
    an order that can be resumed after a kill between any two steps: create the model, upload its files, declare it
    ready, name it as the run's output.
    """
    weights = str(record.get(DIGEST, ""))
    found = with_retries(uri, "create the model", lambda: _find_or_create(client, run, experiment, weights))
    identity = found.model_id
    if str(found.status) != "READY":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            save_network(model, example, record, path, run=run, model_id=identity, location=found.artifact_location)
            with_retries(uri, "upload the model", lambda: client.log_model_artifacts(identity, str(path)))
        with_retries(uri, "declare the model ready", lambda: client.finalize_logged_model(identity, "READY"))
    with_retries(uri, "name the model as the run's", lambda: _name_output(client, run, identity))
    return f"models:/{identity}"


def _find_or_create(client: MlflowClient, run: str, experiment: str, weights: str) -> LoggedModel:
    """Return the run's model of these weights, ready or partly uploaded by a killed process; otherwise a new one."""
    models = client.search_logged_models([experiment], filter_string=f"source_run_id = '{run}'")
    found = next((model for model in models if model.name == NAME and model.tags.get(DIGEST) == weights), None)
    return found or client.create_logged_model(experiment, NAME, source_run_id=run, tags={DIGEST: weights})


def _name_output(client: MlflowClient, run: str, identity: str) -> None:
    from mlflow.entities import LoggedModelOutput

    outputs = client.get_run(run).outputs
    if outputs is None or all(output.model_id != identity for output in outputs.model_outputs):
        client.log_outputs(run, [LoggedModelOutput(identity, step=0)])


def save_network(
    model: nn.Module, example: np.ndarray, record: dict[str, Any], path: Path, *, run: str, model_id: str, location: str
) -> None:
    """Write the MLflow model folder: the exported graph (CPU, float32, any batch size), signature, requirements."""
    with warnings.catch_warnings():
        # MLflow warns about type hints of its own while it is imported.
        warnings.filterwarnings("ignore", module=r"mlflow\.")
        import mlflow.pyfunc
        import mlflow.pytorch
        from mlflow.models import Model, infer_signature

    # A batch of one would be exported with a fixed batch size.
    example = np.repeat(example, 2, axis=0) if len(example) == 1 else example
    network = copy.deepcopy(model).to("cpu", torch.float32).eval()
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    description = Model(artifact_path=location, run_id=run, model_id=model_id, model_uuid=model_id)
    with torch.no_grad():
        output = network(torch.from_numpy(example)).numpy()
        mlflow.pytorch.save_model(
            network,
            path,
            mlflow_model=description,
            signature=infer_signature(example, output),
            input_example=example,
            metadata=record,
            pip_requirements=requirements(),
            serialization_format="pt2",
        )
    _strip(path, description)


def _strip(path: Path, description: Model) -> None:
    """Remove the example from the saved model.

    The export needs one, but stores it as a pickle inside the archive and as megabytes of JSON; where a real example is
    given, that is a patient's image.
    """
    file = path / "data" / "model.pt2"
    program = torch.export.load(file)
    program.example_inputs = None
    torch.export.save(program, file)
    for name in (description.saved_input_example_info or {}).values():
        (path / name).unlink(missing_ok=True)
    description.saved_input_example_info = None  # type: ignore[assignment]
    description.model_size_bytes = sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())
    description.save(str(path / "MLmodel"))


def requirements() -> list[str]:
    """Return the installed versions, without a build's local part (``+cpu``), which no package index lists."""
    return [f"{package}=={importlib.metadata.version(package).partition('+')[0]}" for package in PACKAGES]
