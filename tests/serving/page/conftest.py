"""A browser, running services and the page of one, for the tests of the page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from pneumonia.records.evaluation import Metric, OutsideMetrics
from pneumonia.registry.mirror import Mirror
from tests.support.browser import KEY, Open, Visit
from tests.support.serving import NAME, mirror, server_of


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory, exports: Path) -> Path:
    """A work folder whose mirror names a champion, with metrics as a promotion writes them."""
    folder = tmp_path_factory.mktemp("page") / "work"
    metric = Metric(value=0.93, low=0.88, high=0.97)
    counts = {"NORMAL": 20, "PNEUMONIA": 30}
    outside = OutsideMetrics(name="elsewhere", when="2026-01-02", rows="0" * 64, counts=counts, threshold=0.5)
    found = {
        "metrics": dict.fromkeys(("auroc", "sensitivity", "specificity", "brier"), metric),
        "measured_on": "release set",
        "outside": (outside.model_copy(update={"metrics": {"auroc": metric}}),),
    }
    Mirror(folder, NAME).write(mirror(folder, exports, 1).model_copy(update=found))
    return folder


@contextmanager
def running(work: Path, **environment: str) -> Iterator[str]:
    with server_of(work, f"tracking.uri=sqlite:///{work}/mlflow.db", environment=environment) as server:
        yield server.url


@pytest.fixture(scope="session")
def service(work: Path) -> Iterator[str]:
    """The address of a running service."""
    with running(work) as address:
        yield address


@pytest.fixture(scope="session")
def locked(work: Path) -> Iterator[str]:
    """The address of a service of the same model, behind a key."""
    with running(work, PNEUMONIA_API_KEY=KEY) as address:
        yield address


@pytest.fixture
def visit(browser: Browser, service: str) -> Iterator[Open]:
    """Open the page in a context of its own; what it asked for and complained about is judged at the end."""
    opened: list[Visit] = []

    def open_page(url: str = service, **options: Any) -> Visit:
        opened.append(Visit(browser, url, **options))
        return opened[-1]

    yield open_page
    for each in opened:
        each.close()
