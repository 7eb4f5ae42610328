"""The stores that a registry may be in."""

from __future__ import annotations

from pathlib import Path

import pytest

from pneumonia.config.schema import Config
from pneumonia.tracking.client import tracking_uri


@pytest.fixture(params=["sqlite", "http"])
def any_uri(request: pytest.FixtureRequest) -> str:
    if request.param == "http":
        return str(request.getfixturevalue("mlflow_server"))
    return tracking_uri(Config(work=str(request.getfixturevalue("work"))))


@pytest.fixture
def uri(work: Path) -> str:
    return tracking_uri(Config(work=str(work)))
