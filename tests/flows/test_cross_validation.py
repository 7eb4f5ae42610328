"""Five folds of phantoms under a real Prefect server; its flow is killed in the second training and begun again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prefect.settings import PREFECT_API_URL

from flows.cross_validation import cross_validation
from flows.terminal import announce
from pneumonia.config.recipe import of_fold, recipe_digest
from pneumonia.config.schema import NOT_OF_A_RUN, Config
from pneumonia.data.manifest import Manifest
from pneumonia.errors import ConfigError, DataError, PneumoniaError
from pneumonia.evaluation.cross_validation import fold_metrics, over_folds, pooled_metrics, read_scores
from pneumonia.records.cross_validation import CrossValidation
from pneumonia.registry import models, promotion
from pneumonia.tracking.client import mlflow_client, tracking_uri
from pneumonia.tracking.cross_validation import ARTIFACTS, PARENT_TAG, find_cross_validation
from tasks.export_model import export_model
from tasks.prepare_data import prepare_data
from tasks.score_fold import score_fold
from tasks.summarise_folds import folder_of, summarise_folds
from tasks.train_model import train_model
from tests.support.small import small

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.usefixtures("_prefect")]
ROOT, FOLDS = Path(__file__).parents[2], 5
SETTINGS = ("phantom.train=96", "phantom.test=16", "train.epochs=3")


class Measured(NamedTuple):
    """A cross-validation that was killed and finished by a second run; its work folder is not to be changed."""

    config: Config
    begun: dict[str, str]
    found: CrossValidation


def settings(work: Path, database: Path) -> Config:
    work.mkdir()
    shutil.copyfile(database, work / "mlflow.db")
    return small(work, *SETTINGS)


@pytest.fixture(scope="module")
def measured(_prefect: None, tmp_path_factory: pytest.TempPathFactory, mlflow_database: Path) -> Measured:
    config = settings(tmp_path_factory.mktemp("folds") / "work", mlflow_database)
    environment = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    command = [sys.executable, "-m", "tests.support.killed_folds", config.model_dump_json(), str(FOLDS)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    begun = {run.info.run_id: run.info.status for run in _runs(config)}
    return Measured(config, begun, cross_validation(config, [0], FOLDS))


def fold(config: Config, number: int) -> Config:
    return of_fold(config, 0, FOLDS, number)


def test_each_image_is_held_out_once_and_no_patient_is_on_both_sides(measured: Measured) -> None:
    config, held = measured.config, Counter[str]()
    whole = prepare_data(config)
    ordinary = Manifest.load(Path(whole.manifest))
    never = {entry.path for entry in ordinary.entries if entry.split in ("gate", "test")}
    assert len({one.weights_digest for one in measured.found.results}) == FOLDS
    for one in measured.found.results:
        dataset = prepare_data(fold(config, one.fold))
        assert dataset.digest == whole.digest == measured.found.data_digest
        assert dataset.pixels == whole.pixels, "decoded once"
        assert dataset.counts["held_out"] == {"NORMAL": one.images - one.positives, "PNEUMONIA": one.positives}
        manifest = Manifest.load(Path(dataset.manifest))
        paths = {row.path for row in read_scores(Path(one.scores))}
        groups = dict(zip((entry.path for entry in manifest.entries), manifest.groups, strict=True))
        inside = {groups[entry.path] for entry in manifest.entries if entry.split in ("train", "validation")}
        assert inside
        assert inside.isdisjoint(groups[path] for path in paths)
        assert paths.isdisjoint(never)
        assert {entry.path for entry in manifest.entries if entry.split in ("gate", "test")} == never
        held.update(paths)
    assert held == Counter({entry.path for entry in ordinary.entries} - never)


def test_every_number_follows_from_the_scores(measured: Measured) -> None:
    config, _, found = measured
    rows = read_scores(folder_of(found, config) / "scores.csv")
    per_fold = [fold_metrics([row for row in rows if row.fold == number], config.evaluation) for number in range(FOLDS)]
    assert [one.metrics for one in found.results] == per_fold
    assert found.metrics == over_folds(per_fold, FOLDS, config.evaluation)
    assert found.pooled == pooled_metrics(rows, config.evaluation)
    assert found.phantom


def test_a_version_of_the_recipe_finds_it_and_the_runs_hang_together(measured: Measured) -> None:
    config, _, found = measured
    uri = tracking_uri(config)
    assert find_cross_validation(uri, recipe_digest(config), found.data_digest) == found
    recorded = Config.model_validate(
        config.model_dump(mode="json", exclude=set(NOT_OF_A_RUN))
    )  # as in a version's record
    assert recipe_digest(recorded) == recipe_digest(Config.model_validate(found.config)) == found.recipe
    assert find_cross_validation(uri, recipe_digest(config), "another data version") is None
    assert find_cross_validation(uri, "another recipe", found.data_digest) is None
    client = mlflow_client(uri)
    (place,) = {client.get_run(one.run_id).info.experiment_id for one in found.results}
    assert client.get_run(found.run_id).info.experiment_id == place
    children = client.search_runs([place], f"tags.`{PARENT_TAG}` = '{found.run_id}'")
    assert {run.info.run_id for run in children} == {one.run_id for one in found.results}
    names = {artifact.path for artifact in client.list_artifacts(found.run_id, ARTIFACTS)}
    assert names == {
        f"{ARTIFACTS}/{name}" for name in ("cross_validation.json", "scores.csv", "report.md", "folds.png")
    }
    report = (folder_of(found, config) / "report.md").read_text()
    assert "Not a medical device" in report
    assert "phantoms" in report


def test_a_fold_is_neither_exported_nor_registered(measured: Measured) -> None:
    config, _, found = measured
    one = found.results[0]
    images = prepare_data(fold(config, 0))
    trained = train_model(images, fold(config, 0))
    assert (trained.run_id, trained.model_uri) == (one.run_id, "")
    with pytest.raises(PneumoniaError, match="one of the 5 folds"):
        export_model(images, trained, fold(config, 0))
    with pytest.raises(PneumoniaError, match="one of the 5 folds"):
        promotion.promote_run(tracking_uri(config), one.run_id, "me", "why", despite=True)
    with pytest.raises(ConfigError, match=r"flows/cross_validation\.py"):
        announce(fold(config, 0))
    assert models.versions(tracking_uri(config), config.registry.name) == []


def test_what_is_finished_is_found_and_what_does_not_belong_is_refused(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, _, found = measured
    configs = [fold(config, number) for number in range(FOLDS)]
    images = [prepare_data(each) for each in configs]
    trained = train_model(images[0], configs[0])
    monkeypatch.setattr("tasks.score_fold._score", lambda *_: pytest.fail("was scored before"))
    assert score_fold(images[0], trained, configs[0]) == found.results[0]
    assert summarise_folds(images, found.results, configs) == found
    with pytest.raises(DataError, match=r"scored 0 time\(s\) with seed 0 instead of 1"):
        summarise_folds(images[1:], found.results[1:], configs[1:])
    with pytest.raises(ConfigError, match=r"data\.folds=0"):
        score_fold(images[0], trained, config)


def test_a_flow_that_was_killed_went_on_where_it_was(measured: Measured, tmp_path: Path, mlflow_database: Path) -> None:
    config, begun, found = measured
    assert sorted(begun.values()) == ["FINISHED", "RUNNING"]
    first, second = found.results[:2]
    assert begun == {first.run_id: "FINISHED", second.run_id: "RUNNING"}
    runs = _runs(config)
    assert [run.info.run_id for run in runs if PARENT_TAG not in run.data.tags] == [found.run_id]
    assert len(runs) == FOLDS + 1
    assert {run.info.status for run in runs} == {"FINISHED"}

    undisturbed = fold(settings(tmp_path / "work", mlflow_database), second.fold)
    images = prepare_data(undisturbed)
    again = score_fold(images, train_model(images, undisturbed), undisturbed)
    assert (again.weights_digest, again.metrics) == (second.weights_digest, second.metrics)
    assert read_scores(Path(again.scores)) == read_scores(Path(second.scores))


def _runs(config: Config) -> list[Any]:
    client = mlflow_client(tracking_uri(config))
    experiment = client.get_experiment_by_name(config.tracking.experiment)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))
