"""Keep the models of a cross-validation's folds out of the registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pneumonia.errors import PneumoniaError


def refuse_folds(config: Mapping[str, Any], what: str) -> None:
    """Refuse to deliver a model of one fold of a cross-validation: it was trained without that fold's patients.

    Args:
        config: the configuration that it was trained with, as a tree.
        what: the model, in the message.

    Raises:
        PneumoniaError: it was trained with data.folds.
    """
    if folds := config.get("data", {}).get("folds", 0):
        raise PneumoniaError(
            f"{what}: is one of the {folds} folds of a cross-validation, which are scored and never delivered; train "
            "on all patients with flows/pipeline.py and without data.folds"
        )
