"""One finished pipeline for all, and steps without what takes seconds and is tested elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pneumonia.config.schema import Config
from pneumonia.evidence import assessment_files
from pneumonia.records.steps import Dataset, Promotion, TrainedModel, Validation
from pneumonia.tracking import mlflow_model
from tasks import validate_model
from tests.conftest import once
from tests.support.small import small
from tests.support.steps import run

DOCUMENTS = {"dataset": Dataset, "trained": TrainedModel, "validation": Validation, "promotion": Promotion}


class Finished(NamedTuple):
    """The documents of a pipeline that has run to its end."""

    config: Config
    dataset: Dataset
    trained: TrainedModel
    validation: Validation
    promotion: Promotion


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, mlflow_database: Path) -> Finished:
    """The small pipeline, run once with its plots and its export; its work folder is not to be changed."""

    def make(folder: Path) -> None:
        (folder / "work").mkdir()
        shutil.copyfile(mlflow_database, folder / "work" / "mlflow.db")
        for name, document in zip(DOCUMENTS, run(small(folder / "work")), strict=True):
            (folder / f"{name}.json").write_text(document.model_dump_json())

    folder = once(tmp_path_factory, "finished", make)
    documents: list[Any] = [
        kind.model_validate_json((folder / f"{name}.json").read_text()) for name, kind in DOCUMENTS.items()
    ]
    return Finished(small(folder / "work"), *documents)


@pytest.fixture
def exports() -> None:
    """Ask for the real export of the MLflow model."""


@pytest.fixture(autouse=True)
def _no_export_and_no_plots(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the export (tests/tracking/test_mlflow_model.py) and the plots (tests/reporting) of further runs."""
    if "finished" in request.fixturenames:
        request.getfixturevalue("finished")  # made before anything is left out
    if "exports" not in request.fixturenames:
        monkeypatch.setattr(
            mlflow_model, "save_network", lambda network, example, record, path, **_: path.mkdir(parents=True)
        )
    monkeypatch.setattr(validate_model, "plots", lambda *_, **__: [])
    monkeypatch.setattr(assessment_files, "assessment_plots", lambda *_, **__: [])
    monkeypatch.setattr(assessment_files, "write_errors", lambda folder, *_: folder / "errors.png")
