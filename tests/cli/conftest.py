"""A model and films for the commands; no training, its weights are drawn at random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumonia.config.schema import PhantomConfig
from pneumonia.data.phantom import dataset
from tests.support.trained import save

NAME = "pneumonia-resnet18"


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's file."""
    return save(tmp_path_factory.mktemp("model") / "model.safetensors", NAME)


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.jpeg"
    Image.fromarray(dataset.render(1, np.random.default_rng(0), 64)).save(path)
    return path


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of phantoms; not to be changed."""
    return dataset.generate(tmp_path_factory.mktemp("phantoms"), PhantomConfig(train=32, test=24, size=64))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands write to the folder that they are called in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
