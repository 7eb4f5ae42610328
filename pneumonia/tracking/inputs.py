"""Log what a run was made from, its parameters and its dataset; repeated calls log it once."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pneumonia.tracking.client import mlflow_client, with_retries

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

BATCH = 100  # MLflow takes at most 100 parameters in one request

logger = logging.getLogger(__name__)


def log_parameters(client: MlflowClient, run_id: str, tree: Mapping[str, object]) -> None:
    """Log a nested tree as ``a.b.c`` parameters, except those that the run has already (MLflow cannot change one)."""
    from mlflow.entities import Param

    wanted, present = dict(_flat(tree)), client.get_run(run_id).data.params
    changed = sorted(name for name in wanted.keys() & present.keys() if wanted[name] != present[name])
    if changed:
        logger.warning("run %s keeps the parameters that it was started with: %s", run_id, ", ".join(changed))
    missing = [Param(name, value) for name, value in wanted.items() if name not in present]
    for start in range(0, len(missing), BATCH):
        client.log_batch(run_id, params=missing[start : start + BATCH])


def log_dataset(
    client: MlflowClient, run_id: str, name: str, digest: str, source: str, counts: Mapping[str, object]
) -> None:
    """Log the dataset that the run used; `digest` has at most 36 characters."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = client.get_run(run_id).inputs
    known = [] if inputs is None else [entry.dataset for entry in inputs.dataset_inputs]
    if any((dataset.name, dataset.digest) == (name, digest) for dataset in known):
        return
    dataset = Dataset(
        name=name,
        digest=digest,
        source_type="local",
        source=json.dumps({"uri": source}),
        profile=json.dumps(dict(counts)),
    )
    entry = DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])
    client.log_inputs(run_id, datasets=[entry])


def dataset_source(uri: str, run_id: str) -> str:
    """Return where the images that a run used came from, as `log_dataset` was given it; empty where it logged none.

    Raises:
        TrackingError: the store cannot be used.
    """
    client = mlflow_client(uri)
    inputs = with_retries(uri, f"read the data set of run {run_id}", lambda: client.get_run(run_id).inputs)
    sources = [json.loads(entry.dataset.source) for entry in inputs.dataset_inputs] if inputs is not None else []
    return str(sources[-1].get("uri", "")) if sources else ""


def _flat(tree: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)
