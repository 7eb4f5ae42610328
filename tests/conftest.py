"""Fixtures for all rooms of the library."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

from pneumonia.config.schema import Config, PhantomConfig
from tests.support import object_stores
from tests.support.mlflow_server import Server
from tests.support.object_stores import ObjectStore
from tests.support.runs import settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from torch import Tensor, nn

# Read when torch is imported: threads wait for one another where tests share the machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, one a process: Playwright allows no second one beside it."""
    from tests.support.browser import chromium

    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real radiographs, their originals and weights, which not every machine has."""
    name = os.environ.get("PNEUMONIA_TEST_SHARED")
    if not name:
        pytest.skip("PNEUMONIA_TEST_SHARED names no folder with real radiographs")
    folder = Path(name)
    assert folder.is_dir(), f"PNEUMONIA_TEST_SHARED={name} is not a folder"
    return folder


# What starts once is one group, which one worker runs; the longest groups begin first, so that none is left to the end.
GROUPS = {
    "tests/deployments/test_stack": "stack",
    "tests/flows/": "prefect",
    "tests/test_readme.py": "readme",
    "tests/test_install": "install",
    "tests/test_wheel": "install",
    "tests/cli/test_ui_servers": "ui",
    "tests/tasks/": "tasks",
    "tests/serving/page/": "page",
    "tests/tracking/": "mlflow server",
    "tests/registry/": "mlflow server",
    "tests/deployments/test_child": "dags",
    "tests/deployments/test_dags": "dags",
    "tests/deployments/test_chart": "chart",
    "tests/deployments/test_form": "dags",
    "tests/deployments/test_parity": "dags",
    "tests/deployments/test_monitor_parity": "dags",
    "tests/deployments/test_cross_validation_parity": "dags",
    "tests/deployments/test_score_archive_parity": "dags",
}


def group_of(path: str) -> str:
    """Return the group of a test's file: the file itself, where nothing else is said."""
    return next((name for start, name in GROUPS.items() if path.startswith(start)), path)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each group to one worker, whole and in its order.

    This is what ``--dist loadgroup`` is for; pytest-xdist 3.8 writes the group into a private attribute of a test,
    which pytest 9.2 no longer reads, so that it divides the groups without a word.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid.partition("::")[0])

    return ByGroup(config, log)


HISTORIES = ("test_moves.py", "test_health.py")
"""Tests that make many moves in a registry, or ask a server in a thread."""
SERVERS = {
    *("server", "mlflow_server", "http", "_prefect", "inspected", "dags", "docker", "engine"),
    *("s3_server", "gcs_server", "ray_cluster"),
}
"""Fixtures, and the parameter of one, that start a process."""


@pytest.hookimpl(tryfirst=True)  # before tests are deselected by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts a server or runs the pipeline's steps, and bring the groups into their order."""
    order = list(dict.fromkeys(GROUPS.values()))
    places: dict[pytest.Item, int] = {}
    for item in items:
        chosen = getattr(getattr(item, "callspec", None), "params", {}).values()
        needs = [*getattr(item, "fixturenames", ()), *(value for value in chosen if isinstance(value, str))]
        group = group_of(item.path.relative_to(item.config.rootpath).as_posix())
        if not SERVERS.isdisjoint(needs) or group == "tasks" or item.path.name in HISTORIES:
            item.add_marker(pytest.mark.integration)
        places[item] = order.index(group) if group in order else len(order)
    items.sort(key=places.__getitem__)


@pytest.fixture(autouse=True)
def _honest_marks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test that starts a process without the mark `integration` fail, so that `make test-quick` stays quick."""
    if any(request.node.get_closest_marker(mark) for mark in ("integration", "stack", "nightly")):
        return

    start = subprocess.Popen.__init__

    def guarded(self: Any, arguments: Any, *rest: Any, **named: Any) -> None:
        program = Path(arguments[0] if isinstance(arguments, list | tuple) else str(arguments).split()[0]).name
        known = ("git", "uname")  # the latter by `platform`, once a process, whichever test comes first
        assert program in known, f"{program} is started: mark the test with pytest.mark.integration"
        start(self, arguments, *rest, **named)

    monkeypatch.setattr(subprocess.Popen, "__init__", guarded)


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that is made once a session, whichever worker asks first, and shared read-only by all."""
    base = factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / name
    with FileLock(f"{folder}.lock"):
        if not (folder / "complete").exists():
            folder.mkdir(parents=True, exist_ok=True)
            make(folder)
            (folder / "complete").touch()
    return folder


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of small phantoms; not to be changed."""
    from pneumonia.data.phantom import dataset

    def make(folder: Path) -> None:
        dataset.generate(folder, PhantomConfig(train=32, test=24, size=64))

    return once(tmp_path_factory, "phantoms", make) / "chest_xray"


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


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """S3 on this machine, the same for the whole session; its `environment` is the test's to set."""
    with object_stores.s3(tmp_path_factory.mktemp("s3")) as store:
        yield store


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """Google Cloud Storage's emulator on this machine, as `s3_server`."""
    with object_stores.gcs(tmp_path_factory.mktemp("gcs")) as store:
        yield store


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
    """A small network with random weights; whoever changes it takes a copy."""
    from pneumonia.modelling.network import build_network  # torch, which must not come before the variable above

    return build_network("tiny", "none", seed=7).eval()


@pytest.fixture(scope="session")
def state(network: nn.Module) -> dict[str, Tensor]:
    """Its weights."""
    return network.state_dict()
