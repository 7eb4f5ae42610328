"""Read with which verdict a version's run was validated last, and which criteria it has failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pneumonia.errors import TrackingError
from pneumonia.tracking.client import load_json, mlflow_client, with_retries
from pneumonia.tracking.run_tags import VALIDATIONS_TAG

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

VERDICT_TAG, PASSED, NEVER = "verdict", "passed", "never validated"
"""Tag of the run with the verdict in words, and two of its values; the last one where there is no tag."""
VERDICT = "report/verdict.json"
"""Path of the run's artifact that holds the first verdict, which the signature is about."""
NO_APPROVAL = ("already champion", "withdrawn")
"""Reasons that refuse a model for what it is in the registry, and not for what it can do."""


def failed_criteria(uri: str, run_id: str) -> tuple[str, ...]:
    """Return the criteria that a run has failed in its last validation; empty where its verdict approves it.

    Where the run has a verdict in words alone, it stands for the criteria.

    Raises:
        TrackingError: the store cannot be reached.
    """
    client = mlflow_client(uri)
    tags = with_retries(uri, f"read the verdict of run {run_id}", lambda: _tags(client, run_id))
    words = tags.get(VERDICT_TAG, NEVER)
    failed = () if words == NEVER else failed_of(_last(uri, run_id, tags))
    return failed or (() if words == PASSED else (words,))


def failed_of(verdict: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the criteria that a verdict's document says were failed, those of `NO_APPROVAL` apart."""
    reasons = [reason for reason in verdict.get("reasons", ()) if reason.get("name") not in NO_APPROVAL]
    return tuple(str(reason.get("name")) for reason in reasons if not reason.get("passed"))


def last_folder(tags: Mapping[str, str]) -> str:
    """Return the artifact folder that the report of the last validation would have in a registered version's run."""
    return f"report-{tags.get(VALIDATIONS_TAG, 0)}"


def _last(uri: str, run_id: str, tags: Mapping[str, str]) -> dict[str, Any]:
    """Return the last validation's verdict: of a registered version in a folder of its own; empty where there is none.

    A model that was promoted by hand, or validated by an earlier release, may have none.
    """
    again = int(tags.get(VALIDATIONS_TAG, 0)) > 1
    for path in ([f"{last_folder(tags)}/verdict.json"] if again else []) + [VERDICT]:
        try:
            return dict(load_json(uri, run_id, path))
        except TrackingError as error:
            if not error.permanent:
                raise
    return {}


def _tags(client: MlflowClient, run_id: str) -> dict[str, str]:
    return dict(client.get_run(run_id).data.tags)
