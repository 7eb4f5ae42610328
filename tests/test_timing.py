"""Where a step's time goes: its parts, the line, and who receives it."""

from __future__ import annotations

import importlib
import logging
import re
import time

import pytest

from pneumonia.progress import silent, stays
from pneumonia.timing import reports_time, timed


def lines_of(step, **given) -> list[tuple[float, float, str]]:
    received: list[tuple[float, float, str]] = []
    step(progress=lambda done, total, message="": received.append((done, total, message)), **given)
    return received


@timed("reading")
def read() -> None:
    time.sleep(0.06)


@reports_time
def step(rounds: int, progress=silent) -> int:
    for _ in range(rounds):
        read()
    with timed("writing"):
        read()  # counts as the outer part
        time.sleep(0.06)
    time.sleep(0.07)
    return rounds


def test_the_line_names_the_parts_in_their_order_and_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pneumonia.timing"):
        [(done, total, line)] = lines_of(step, rounds=2)
    assert (done, total) == (1.0, 1.0)
    found = re.fullmatch(r"took ([\d.]+) s: reading ([\d.]+), writing ([\d.]+), the rest ([\d.]+)", line)
    assert found is not None, line
    whole, *parts = map(float, found.groups())
    assert whole == pytest.approx(sum(parts), abs=0.21)
    assert min(parts) >= 0.1
    assert whole >= 0.3
    assert caplog.messages == [f"step {line}"]
    assert stays(line), "the terminal keeps it"


def test_a_part_outside_a_step_does_nothing() -> None:
    read()
    [(_, _, line)] = lines_of(reports_time(lambda progress: None))
    assert line == "took 0.0 s"


def test_a_step_that_fails_says_nothing_and_leaves_no_trace() -> None:
    @reports_time
    def fails(progress=silent) -> None:
        with timed("failing"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        lines_of(fails)
    [(_, _, line)] = lines_of(step, rounds=0)
    assert "failing" not in line


def test_a_step_within_a_step_reports_for_itself() -> None:
    @reports_time
    def outer(progress=silent) -> None:
        inner = lines_of(step, rounds=1)
        assert len(inner) == 1
        read()

    [(_, _, line)] = lines_of(outer)
    assert re.search(r"reading 0\.[01]", line), "its own part alone"
    assert "writing" not in line


STEPS = (
    "prepare_data", "train_model", "export_model", "validate_model", "build_dossier", "promote_model",
    "plan_folds", "score_fold", "measure_folds", "summarise_folds", "score_archive",
)  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_every_step_of_pipeline_cross_validation_and_archive_reports_its_time(name: str) -> None:
    assert hasattr(getattr(importlib.import_module(f"tasks.{name}"), name), "__wrapped__"), "@reports_time is missing"
