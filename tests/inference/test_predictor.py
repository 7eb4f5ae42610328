"""Scoring images, and finding the model to score them with."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from pneumonia.config.schema import Config, PreprocessConfig, TrackingConfig, TrainConfig
from pneumonia.config.service import ServingConfig
from pneumonia.data.phantom import dataset
from pneumonia.errors import ConfigError, DataError, PneumoniaError, TrackingError
from pneumonia.imaging.radiograph import read
from pneumonia.inference.predictor import Predictor
from pneumonia.modelling.network import build_network
from pneumonia.modelling.weights import save_weights, state_digest
from pneumonia.records.model import ModelRecord, read_record
from pneumonia.registry import models, moves, registration
from pneumonia.registry.mirroring import update_mirror
from pneumonia.tracking.client import mlflow_client, tracking_uri
from pneumonia.tracking.run import Run
from tests.support.exports import provide

NAME = "pneumonia-resnet18"
PREPROCESS = PreprocessConfig(size=32, equalize=True)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network at random, whose threshold lies among its own scores."""
    network = build_network("tiny", "none", seed=3)
    record = ModelRecord(
        name=NAME,
        phantom=False,
        architecture="tiny",
        preprocess=PREPROCESS,
        threshold=0.5,
        weights_digest=state_digest(network.state_dict()),
        data_digest="d",
        split_digest="s",
        config={},
        library_version="0",
    )
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_weights(path, network.state_dict(), record)
    return path


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    paths = [folder / f"image {number}.jpeg" for number in range(5)]
    for number, path in enumerate(paths):
        Image.fromarray(dataset.render(number % 2, np.random.default_rng(number), 96)).save(path, quality=90)
    return paths


@pytest.fixture
def config(work: Path, weights: Path) -> Config:
    provide(work, weights)
    return Config(
        work=str(work), train=TrainConfig(device="cpu", threads=1), tracking=TrackingConfig(system_metrics=False)
    )


def logged(config: Config, weights: Path) -> tuple[str, str, str]:
    """Run id, model URI and store of a run that holds the weights, as a training leaves it."""
    run = Run.open(config, "key", "name", {})
    run.log_file(weights, "weights")
    client = mlflow_client(run.uri)
    experiment = client.get_run(run.id).info.experiment_id
    model = client.create_logged_model(experiment, "model", source_run_id=run.id)
    client.finalize_logged_model(model.model_id, "READY")
    run.finish()
    return run.id, f"models:/{model.model_id}", run.uri


def register(config: Config, weights: Path, name: str = NAME, weights_digest: str | None = None) -> None:
    run, model, uri = logged(config, weights)
    record = read_record(weights)
    changes = {"name": name, "weights_digest": weights_digest or record.weights_digest}
    changes |= {"phantom": name.endswith("-phantom")}
    registration.register(uri, record.model_copy(update=changes), run, model)
    moves.promote(uri, name, "1", "ada", "why", against=None, despite=True)  # it was never validated
    update_mirror(uri, Path(config.work), name)


# --- scores


def test_a_score_is_the_networks_probability(config: Config, weights: Path, images: list[Path]) -> None:
    results = Predictor.load(str(weights), config).score(images)
    network = build_network("tiny", "none", seed=3).eval()
    pixels = torch.from_numpy(np.stack([read(image, PREPROCESS).pixels for image in images]))
    with torch.no_grad():
        expected = network(pixels / 255).softmax(1)[:, 1]
    assert [result["file"] for result in results] == [str(image) for image in images]
    assert [result["probability"] for result in results] == pytest.approx(expected.tolist(), abs=1e-5)
    assert len({result["probability"] for result in results}) == len(images)
    assert {"file", "probability", "decision", "threshold", "model", "version", "weights_digest"} <= set(results[0])


def test_the_decision_follows_the_records_threshold(
    config: Config, weights: Path, images: list[Path], tmp_path: Path
) -> None:
    predictor = Predictor.load(str(weights), config)
    scores = sorted(result["probability"] for result in predictor.score(images))
    record = predictor.record.model_copy(update={"threshold": scores[2]})
    save_weights(tmp_path / "model.safetensors", load_file(weights), record)
    results = Predictor.load(str(tmp_path / "model.safetensors"), config).score(images)
    for result in results:
        assert result["threshold"] == scores[2]
        assert result["decision"] == ("PNEUMONIA" if result["probability"] >= scores[2] else "NORMAL")
    assert {result["decision"] for result in results} == {"PNEUMONIA", "NORMAL"}


def test_unreadable_files_are_refused_in_their_place(
    config: Config, weights: Path, images: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "empty.jpeg").touch()
    (tmp_path / "text.jpeg").write_text("not an image, whatever its name says")
    files = [images[0], tmp_path / "empty.jpeg", images[1], tmp_path / "text.jpeg", tmp_path / "missing.png"]
    predictor = Predictor.load(str(weights), config)
    results = predictor.score(files)
    assert [result["file"] for result in results] == [str(file) for file in files]
    assert [result.get("refused", False) for result in results] == [False, True, False, True, True]
    assert {result["code"] for result in results if "refused" in result} == {"unreadable"}
    assert "does not exist" in results[4]["reason"]
    assert predictor.score([images[1]])[0]["probability"] == pytest.approx(results[2]["probability"], abs=1e-6)


def test_batches_change_nothing(
    config: Config, weights: Path, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor.load(str(weights), config)
    files = [*images[:3], tmp_path / "missing.png", *images[3:]]
    whole = predictor.score(files)
    told: list[tuple[float, float]] = []
    monkeypatch.setattr("pneumonia.inference.predictor.BATCH", 2)
    parts = predictor.score(files, lambda done, total, message="": told.append((done, total)))
    assert told == [(at, 6) for at in range(1, 7)]
    for one, other in zip(whole, parts, strict=True):
        assert one.pop("probability", 0) == pytest.approx(other.pop("probability", 0), abs=1e-6)
        assert one == other


def test_no_files_no_results(config: Config, weights: Path) -> None:
    assert Predictor.load(str(weights), config).score([]) == []


# --- models


def test_every_address_leads_to_the_same_scores(config: Config, weights: Path, images: list[Path]) -> None:
    register(config, weights)
    uri = tracking_uri(config)
    run = models.get(uri, NAME, "1").run_id
    model = mlflow_client(uri).get_run(run)
    source = mlflow_client(uri).search_logged_models([model.info.experiment_id])[0].model_id
    file = Predictor.load(str(weights), config)
    addresses = {
        None: (NAME, "1"),
        f"models:/{NAME}@champion": (NAME, "1"),
        f"models:/{NAME}/1": (NAME, "1"),
        f"models:/{source}": (NAME, f"run:{run}"),
        f"runs:/{run}": (NAME, f"run:{run}"),
        f"runs:/{run}/model": (NAME, f"run:{run}"),
        str(weights): (NAME, f"sha256:{file.record.weights_digest[:12]}"),
    }
    expected = [result["probability"] for result in file.score(images[:2])]
    for address, names in addresses.items():
        results = Predictor.load(address, config).score(images[:2])
        assert [result["probability"] for result in results] == expected
        assert {(result["model"], result["version"]) for result in results} == {names}


def test_without_a_champion_the_error_says_what_there_is(config: Config, weights: Path) -> None:
    register(config, weights, f"{NAME}-phantom")
    alone = config.model_copy(update={"serving": ServingConfig(model=NAME)})
    with pytest.raises(PneumoniaError) as caught:
        Predictor.load(None, alone)
    assert f"no champion of {NAME} yet" in str(caught.value)
    assert f"models:/{NAME}-phantom@champion" in str(caught.value)
    assert "python flows/pipeline.py --profile full --data DIR" in str(caught.value)


def test_the_first_name_that_has_a_champion_is_used(config: Config, weights: Path) -> None:
    for name in (f"{NAME}-phantom", f"{NAME}-fast", NAME):
        register(config, weights, name)
        found = Predictor.load(None, config)
        assert (found.name, found.version) == (name, "1")


def test_without_any_model_the_error_says_so_and_no_database_is_made(tmp_path: Path) -> None:
    with pytest.raises(PneumoniaError, match="No other model has one either"):
        Predictor.load(None, Config(work=str(tmp_path / "new")))
    assert not (tmp_path / "new" / "mlflow.db").exists()


def test_weights_other_than_the_registered_are_refused(config: Config, weights: Path) -> None:
    register(config, weights, weights_digest="ab" * 32)
    with pytest.raises(PneumoniaError, match="other weights than were registered"):
        Predictor.load(None, config)


@pytest.mark.parametrize("address", ["models:/", "models:name", "models:/a/b/c", "runs:/", "nowhere.safetensors"])
def test_what_is_no_address_is_told(config: Config, address: str) -> None:
    with pytest.raises(ConfigError, match=r"models:/NAME@champion"):
        Predictor.load(address, config)


def test_what_leads_nowhere_is_told(config: Config, tmp_path: Path) -> None:
    with pytest.raises(PneumoniaError, match="no version or alias '3'"):
        Predictor.load(f"models:/{NAME}/3", config)
    with pytest.raises(TrackingError, match=r"0{32}"):
        Predictor.load(f"runs:/{'0' * 32}", config)
    with pytest.raises(TrackingError, match=r"m-0{32}"):
        Predictor.load(f"models:/m-{'0' * 32}", config)
    (tmp_path / "model.safetensors").write_text("no weights")
    with pytest.raises(DataError, match="not a model of this project"):
        Predictor.load(str(tmp_path / "model.safetensors"), config)


def test_a_run_without_weights_is_told(config: Config) -> None:
    run = Run.open(config, "key", "name", {})
    with pytest.raises(TrackingError, match=r"weights/model\.safetensors"):
        Predictor.load(f"runs:/{run.id}", config)


def test_a_phantoms_model_says_so(
    config: Config, weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predictor = Predictor.load(str(weights), config)
    assert "phantoms" not in caplog.text
    assert "exported without its training images" in caplog.text, "of a bare file nothing else is known"
    record = predictor.record.model_copy(update={"phantom": True})
    save_weights(tmp_path / "model.safetensors", load_file(weights), record)
    with caplog.at_level(logging.WARNING):
        Predictor.load(str(tmp_path / "model.safetensors"), config)
    assert "phantoms" in caplog.text
