"""Epochs while the server is away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pneumonia.errors import TrackingError
from pneumonia.tracking.client import mlflow_client
from pneumonia.tracking.run import Run
from tests.support.mlflow_server import Server, Wire
from tests.support.runs import EPOCHS, settings, steps


@pytest.fixture
def wire(mlflow_server: str) -> Iterator[Wire]:
    wire = Wire(urlsplit(mlflow_server).port or 0)
    wire.mend()
    yield wire
    wire.cut()


def test_no_epoch_is_lost_or_doubled_while_the_server_is_away(
    wire: Wire, work: Path, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run.open(settings(work, wire.url), key, "name", {})
    assert run.log_epochs(EPOCHS[:1])
    wire.cut()
    start = time.monotonic()
    assert not run.log_epochs(EPOCHS[:2])
    assert not run.log_epochs(EPOCHS[:3])
    assert time.monotonic() - start < 10
    assert "Connection refused" in caplog.text
    assert "2 epoch(s) are buffered" in caplog.text
    wire.mend()
    assert run.log_epochs(EPOCHS)
    run.finish()
    assert steps(run) == [1, 2, 3, 4]


def test_an_epoch_whose_answer_was_lost_is_there_once(wire: Wire, work: Path, key: str) -> None:
    run = Run.open(settings(work, wire.url), key, "name", {})
    assert run.log_epochs(EPOCHS[:1])
    wire.loses_answers = True
    assert not run.log_epochs(EPOCHS[:2])
    wire.loses_answers = False
    assert steps(run) == [1, 2]  # the server had acted on it
    assert run.log_epochs(EPOCHS[:3])
    assert steps(run) == [1, 2, 3]
    assert steps(run, "epoch") == [1, 2, 3]


def test_flush_waits_for_the_server(wire: Wire, work: Path, key: str) -> None:
    run = Run.open(settings(work, wire.url), key, "name", {})
    wire.cut()
    run.log_epochs(EPOCHS)
    with pytest.raises(TrackingError, match=rf"{wire.url}.*4 epoch"):
        run.flush(timeout=0.6)
    wire.mend()
    run.flush(timeout=10)
    assert steps(run) == [1, 2, 3, 4]


def test_flush_does_not_wait_where_waiting_does_not_help(work: Path) -> None:
    run = Run.open(settings(work), "key", "name", {})
    mlflow_client(run.uri).delete_run(run.id)
    assert not run.log_epochs(EPOCHS)
    start = time.monotonic()
    with pytest.raises(TrackingError, match="deleted"):
        run.flush(timeout=30)
    assert time.monotonic() - start < 5


def test_a_failed_run_never_hides_its_error(wire: Wire, work: Path, key: str, caplog: pytest.LogCaptureFixture) -> None:
    run = Run.open(settings(work, wire.url), key, "name", {})
    wire.cut()
    run.finish("FAILED")
    assert "stays open" in caplog.text


@pytest.mark.integration
def test_a_server_that_is_stopped_and_started_again(server: Server, work: Path, key: str) -> None:
    run = Run.open(settings(work, server.url), key, "name", {})
    try:
        assert run.log_epochs(EPOCHS[:1])
        server.stop()
        assert not run.log_epochs(EPOCHS[:3])
    finally:
        server.start()
    run.log_epochs(EPOCHS)
    run.finish()
    assert steps(run) == [1, 2, 3, 4]
