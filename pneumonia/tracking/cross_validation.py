"""Find a cross-validation in MLflow, by its recipe and its data version."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from pneumonia.errors import TrackingError
from pneumonia.records.cross_validation import CrossValidation
from pneumonia.tracking.client import check_store, load_json, mlflow_client, store_is_new, with_retries
from pneumonia.tracking.run import DATA_TAG

CROSS_VALIDATION_TAG = "pneumonia.cross_validation"
"""Tag of the parent run, with the recipe's digest."""
FOLD_TAG = "pneumonia.fold"
"""Tag of a fold's run: seed, fold and folds, as in ``seed 0, fold 1 of 5``."""
PARENT_TAG = "mlflow.parentRunId"
"""MLflow's own tag, by which its page shows the folds' runs below the parent."""
ARTIFACTS = "cross_validation"
DOCUMENT = "cross_validation.json"


def find_cross_validation(uri: str, recipe: str, data_digest: str) -> CrossValidation | None:
    """Return the newest finished cross-validation of a recipe on a data version; None where there is none.

    Args:
        uri: of the tracking store, all experiments of it.
        recipe: from `pneumonia.config.recipe.recipe_digest`.
        data_digest: of the data version, as in a dataset's or a model's record.

    Raises:
        TrackingError: the store cannot be used, or the run's document is damaged.
    """
    if store_is_new(uri):
        return None
    check_store(uri, writing=False)
    client = mlflow_client(uri)

    def search() -> list[Any]:
        places = [found.experiment_id for found in client.search_experiments()]
        wanted = f"tags.`{CROSS_VALIDATION_TAG}` = '{recipe}' and tags.`{DATA_TAG}` = '{data_digest}'"
        return list(
            client.search_runs(
                places,
                f"{wanted} and attributes.status = 'FINISHED'",
                order_by=["attributes.end_time DESC"],
                max_results=1,
            )
        )

    found = with_retries(uri, "look for a cross-validation", search)
    return read_cross_validation(uri, found[0].info.run_id) if found else None


def read_cross_validation(uri: str, run_id: str) -> CrossValidation:
    """Return the document of a parent run.

    Raises:
        TrackingError: the store cannot be used, or the document is damaged.
    """
    found = load_json(uri, run_id, f"{ARTIFACTS}/{DOCUMENT}")
    try:
        return CrossValidation.model_validate(found)
    except ValidationError as error:
        raise TrackingError(
            f"run {run_id}: its {DOCUMENT} is damaged ({error.error_count()} errors); restore it from a backup, or run "
            "the cross-validation again",
            permanent=True,
        ) from None
