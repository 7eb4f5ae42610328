"""Read and set tags of runs that another step has finished, also of a registered version's."""

from __future__ import annotations

from collections.abc import Mapping

from pneumonia.config.schema import Config
from pneumonia.tracking.client import check_store, mlflow_client, tracking_uri, with_retries

TRACE_TAG = "pneumonia.trace_id"
PROMOTION_TAG = "pneumonia.promotion"
"""Tags with the loop that a run belongs to, and with what its promotion came to, as JSON."""
VALIDATIONS_TAG = "pneumonia.validations"
"""Tag with how often a run's model was validated, which reads its test labels each time."""


def tag_run(uri: str, run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags of a run that another step has finished, also of a registered version's.

    Raises:
        TrackingError: the store cannot be used.
    """
    from mlflow.entities import RunTag

    client, labels = mlflow_client(uri), [RunTag(key, value) for key, value in tags.items()]
    with_retries(uri, "set tags", lambda: client.log_batch(run_id, tags=labels))


def read_tag(uri: str, run_id: str, name: str) -> str | None:
    """Return a tag of a run; None where it has none of this name.

    Raises:
        TrackingError: the store cannot be used.
    """
    client = mlflow_client(uri)
    return with_retries(uri, f"read the tag {name}", lambda: client.get_run(run_id).data.tags).get(name)


def find_tag(config: Config, tag: str, value: str, wanted: str) -> str | None:
    """Return a tag of the latest run that another tag names, in the configured experiment; None where there is none.

    Args:
        config: names the store and the experiment.
        tag, value: that the run has.
        wanted: name of the tag that is returned.

    Raises:
        TrackingError: the store cannot be used.
    """
    uri = tracking_uri(config)
    check_store(uri)
    client = mlflow_client(uri)

    def search() -> str | None:
        experiment = client.get_experiment_by_name(config.tracking.experiment)
        if experiment is None:
            return None
        condition = f"tags.`{tag}` = '{value}' AND tags.`{wanted}` LIKE '%'"
        runs = client.search_runs([experiment.experiment_id], condition, max_results=1)
        return next((run.data.tags.get(wanted) for run in runs), None)

    return with_retries(uri, "look for the run of a loop", search)
