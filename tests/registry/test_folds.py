"""The model of a fold does not enter the registry."""

from __future__ import annotations

import pytest

from pneumonia.errors import PneumoniaError
from pneumonia.registry import registration
from pneumonia.registry.folds import refuse_folds
from tests.support.trained import record_of


def test_a_folds_model_is_refused_before_the_registry_is_asked() -> None:
    record = record_of("pneumonia-tiny-phantom", "w", config={"profile": "full", "data": {"folds": 5, "fold": 2}})
    with pytest.raises(PneumoniaError, match=r"run r: is one of the 5 folds .* without data\.folds"):
        registration.register("sqlite:////nowhere/mlflow.db", record, "r", "models:/m-1")


@pytest.mark.parametrize("config", [{"profile": "full"}, {"data": {}}, {"data": {"folds": 0, "fold": 0}}])
def test_every_other_model_passes(config: dict[str, object]) -> None:
    refuse_folds(config, "model")
