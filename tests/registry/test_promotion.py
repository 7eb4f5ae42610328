"""A run's model made champion by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from pneumonia.config.schema import Config
from pneumonia.errors import DataError, PneumoniaError, TrackingError
from pneumonia.records.model import read_record
from pneumonia.registry import models
from pneumonia.registry.moves import Outcome
from pneumonia.registry.promotion import promote_run
from pneumonia.tracking.client import mlflow_client, tracking_uri
from tests.support.runs import settings
from tests.support.trained import leave_run, save

NAME = "pneumonia-resnet18"
PHANTOM = f"{NAME}-phantom"


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("weights")
    return {name: save(folder / name / "model.safetensors", name) for name in (NAME, PHANTOM)}


@pytest.fixture
def config(work: Path) -> Config:
    return settings(work)


@pytest.fixture
def uri(config: Config) -> str:
    return tracking_uri(config)


def test_a_run_that_passed_is_registered_and_becomes_champion(
    config: Config, uri: str, weights: dict[str, Path]
) -> None:
    run = leave_run(config, weights[NAME])
    name, (move, _) = promote_run(uri, run, "ada", "reviewed")
    held = models.champion(uri, NAME)
    assert (name, move.who, move.why, move.from_version, move.to_version) == (NAME, "ada", "reviewed", None, "1")
    assert held is not None
    assert (held.version, held.run_id, held.phantom) == ("1", run, False)
    assert held.weights_digest == read_record(weights[NAME]).weights_digest
    tags = mlflow_client(uri).get_model_version(NAME, "1").tags
    assert (tags["profile"], tags["data_digest"], tags["dvc_md5"]) == ("full", "d", "none")


def test_a_run_is_registered_once(config: Config, uri: str, weights: dict[str, Path]) -> None:
    run = leave_run(config, weights[NAME])
    first = promote_run(uri, run, "ada", "reviewed")
    assert promote_run(uri, run, "ben", "again") == (NAME, Outcome(first[1].move, made=False))
    assert len(models.versions(uri, NAME)) == 1


@pytest.mark.parametrize(("verdict", "words"), [("not passed", "not passed"), (None, "never validated")])
def test_a_verdict_is_only_overruled_expressly(
    verdict: str | None, words: str, config: Config, uri: str, weights: dict[str, Path]
) -> None:
    run = leave_run(config, weights[NAME], verdict)
    with pytest.raises(PneumoniaError, match=f"has not passed the gate .{words}."):
        promote_run(uri, run, "ada", "hurry")
    assert models.versions(uri, NAME) == []
    _, done = promote_run(uri, run, "ada", "hurry", despite=True)
    assert (done.move.why, done.move.despite) == ("hurry", (words,))


def test_a_model_keeps_its_name(config: Config, uri: str, weights: dict[str, Path]) -> None:
    run = leave_run(config, weights[PHANTOM])
    with pytest.raises(PneumoniaError, match=f"trained for {PHANTOM}; it cannot become champion of {NAME}"):
        promote_run(uri, run, "ada", "why", name=NAME, despite=True)
    assert models.versions(uri, NAME) == models.versions(uri, PHANTOM) == []
    name, _ = promote_run(uri, run, "ada", "why", name=PHANTOM)
    assert name == PHANTOM
    assert models.get(uri, PHANTOM, "champion").phantom


def test_a_run_without_a_model_is_refused(config: Config, uri: str, tmp_path: Path) -> None:
    run = leave_run(config, None)
    with pytest.raises(TrackingError, match=run):
        promote_run(uri, run, "ada", "why")
    other = tmp_path / "model.safetensors"
    other.write_bytes(b"no weights")
    run = leave_run(config, other, key="other")
    with pytest.raises(DataError, match="not a model of this project"):
        promote_run(uri, run, "ada", "why")


def test_an_unknown_run_is_refused(uri: str) -> None:
    with pytest.raises(TrackingError, match="could not find run nothing"):
        promote_run(uri, "nothing", "ada", "why")
