"""Fixtures for all rooms of the library."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pneumonia.config.schema import Config
from tests.support.mlflow_server import Server
from tests.support.runs import settings

if TYPE_CHECKING:
    from torch import Tensor, nn

# Read when torch is imported: threads wait for one another where tests share the machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real radiographs, their originals and weights, which not every machine has."""
    name = os.environ.get("PNEUMONIA_TEST_SHARED")
    if not name:
        pytest.skip("PNEUMONIA_TEST_SHARED names no folder with real radiographs")
    folder = Path(name)
    assert folder.is_dir(), f"PNEUMONIA_TEST_SHARED={name} is not a folder"
    return folder


@pytest.fixture(autouse=True)
def _no_tracking_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests track where they say, not where the person who runs them does."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def mlflow_database(pytestconfig: pytest.Config) -> Path:
    """An empty MLflow database, to be copied: its fifty migrations take seconds, so they are done once a version."""
    path = pytestconfig.cache.mkdir("mlflow") / f"{version('mlflow')}.db"
    if not path.exists():
        from pneumonia.tracking.client import mlflow_client

        partial = path.with_name(f"{path.name}.{os.getpid()}")
        mlflow_client(f"sqlite:///{partial}").search_experiments(max_results=1)
        partial.replace(path)
    return path


@pytest.fixture
def work(tmp_path: Path, mlflow_database: Path) -> Path:
    """A work folder whose SQLite tracking database is ready."""
    folder = tmp_path / "work folder"
    folder.mkdir()
    shutil.copyfile(mlflow_database, folder / "mlflow.db")
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, mlflow_database: Path) -> Iterator[Server]:
    """A real MLflow server with SQLite and artifacts of its own, the same for the whole session."""
    folder = tmp_path_factory.mktemp("mlflow")
    shutil.copyfile(mlflow_database, folder / "mlflow.db")
    server = Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def mlflow_server(server: Server) -> str:
    """The address of the session's MLflow server."""
    return server.url


@pytest.fixture(params=["sqlite", "http"])
def tracked(request: pytest.FixtureRequest) -> Config:
    """A configuration that tracks in a database of its own, and one that tracks on the session's server."""
    work = request.getfixturevalue("work")
    return settings(work, request.getfixturevalue("mlflow_server") if request.param == "http" else "auto")


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """A run's key: the server is the session's, the key is the test's."""
    return hashlib.sha256(request.node.nodeid.encode()).hexdigest()


@pytest.fixture(scope="session")
def network() -> nn.Module:
    """A random ResNet18; whoever changes it takes a copy."""
    from pneumonia.modelling.network import build_network  # torch, which must not come before the variable above

    return build_network("none", seed=7).eval()


@pytest.fixture(scope="session")
def state(network: nn.Module) -> dict[str, Tensor]:
    """Its weights."""
    return network.state_dict()
