"""Fixtures of the service's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pneumonia.serving.follower import Serving
from tests.conftest import once
from tests.support.serving import client_of, make_exports, served, service_with


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two exported models, in the folders 1 and 2; not to be changed."""
    return once(tmp_path_factory, "exports", make_exports)


@pytest.fixture(scope="session")
def serving(exports: Path) -> Serving:
    """Version 1, loaded."""
    return served(exports)


@pytest.fixture
def client(serving: Serving) -> Iterator[Any]:
    """A client of a service in this process."""
    with client_of(service_with(serving)) as found:
        yield found
