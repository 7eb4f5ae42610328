"""The form of a manual run is the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pneumonia.config.resolve import resolve
from pneumonia.config.schema import NOT_OF_A_RUN, Config
from tests.deployments.stack import ROOT
from tests.support.loaded import loaded

# One worker reads the DAG files, once.
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def writer() -> Any:
    return loaded(ROOT / "deployments/scripts/write_form.py")


def test_the_committed_form_is_that_of_the_configuration(writer: Any) -> None:
    assert Path(writer.FORM).read_text() == writer.text(), "make form"


def test_every_setting_has_a_field(writer: Any) -> None:
    tree = Config().model_dump()
    wanted = {f"{section}.{key}" for section, part in tree.items() if isinstance(part, dict) for key in part}
    served = {name for name in wanted if name.partition(".")[0] in NOT_OF_A_RUN}
    of_a_fold = {"data.folds", "data.fold"}  # a cross-validation sets them, and the pipeline refuses them
    assert {field["name"] for field in writer.form()} == wanted - served - of_a_fold


@pytest.mark.parametrize("profile", ["fast", "full"])
def test_the_airflow_page_shows_them_with_limits_and_choices(dags: dict[str, Any], profile: str) -> None:
    params = dags[f"pneumonia_pipeline_{profile}"]["params"]
    rate = params["train.learning_rate"]
    assert rate["value"] is None
    assert rate["schema"]["type"] == ["number", "null"]
    assert rate["schema"]["exclusiveMinimum"] == 0
    assert rate["schema"]["maximum"] == 1
    assert str(resolve(profile, environment={}).train.learning_rate) in rate["description"]
    assert params["train.optimizer"]["schema"]["enum"] == ["adam", "adamw", None]
    assert params["train.epochs"]["schema"]["section"] == "The optimisation"
    assert "Passes over the training set" in params["train.epochs"]["description"]


def test_a_field_says_where_phantoms_differ(dags: dict[str, Any]) -> None:
    words = dags["pneumonia_pipeline_fast"]["params"]["train.epochs"]["description"]
    phantoms = resolve("fast", assignments=["data.root=phantom"], environment={}).train.epochs
    assert words.endswith(f"Empty: 1, with phantoms {phantoms}")
