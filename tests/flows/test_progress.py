"""What a run shows of itself: a bar with the time left in a terminal, and elsewhere a line every ten seconds."""

from __future__ import annotations

import io
import logging
import re
import sys
import time
from typing import ClassVar

import pytest

from flows import heartbeat, progress
from flows.heartbeat import Heartbeat


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "SECONDS", 0.2)


class Artifacts:
    """Stands in for Prefect's server; the flow's tests have the real one."""

    told: ClassVar[list[tuple[float, str]]] = []

    @classmethod
    def create(cls, **_: object) -> str:
        cls.told.clear()
        return "id"

    @classmethod
    def update(cls, _: str, progress: float, description: str) -> None:
        cls.told.append((progress, description))


@pytest.fixture
def artifacts(monkeypatch: pytest.MonkeyPatch) -> type[Artifacts]:
    monkeypatch.setattr(progress, "create_progress_artifact", Artifacts.create)
    monkeypatch.setattr(progress, "update_progress_artifact", Artifacts.update)
    monkeypatch.setattr(progress, "get_run_logger", lambda: logging.getLogger("test"))
    return Artifacts


def test_a_line_comes_again_while_nothing_happens(capsys: pytest.CaptureFixture[str]) -> None:
    with Heartbeat("loading"):
        time.sleep(1)
    lines = capsys.readouterr().err.splitlines()
    assert 3 <= len(lines) <= 5
    assert all(re.fullmatch(r"loading \(0:0[01]\)", line) for line in lines)
    time.sleep(0.5)
    assert capsys.readouterr().err == "", "it has ended with its block"


def test_the_innermost_speaks_for_those_around_it(capsys: pytest.CaptureFixture[str]) -> None:
    with Heartbeat("outer"):
        with Heartbeat("inner"):
            time.sleep(0.7)
        assert set(re.findall(r"\w+(?= \()", capsys.readouterr().err)) == {"inner"}
        with Heartbeat("a bar", visible=True):
            time.sleep(0.7)
        assert capsys.readouterr().err == ""
        heartbeat.say("after")
        time.sleep(0.7)
    assert set(re.findall(r"\w+(?= \()", capsys.readouterr().err)) == {"after"}


def test_silence_is_short_from_one_to_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    """Steps that are shorter than the silence make no long one together."""
    with Heartbeat("outer"):
        for step in range(8):
            with Heartbeat(f"step {step}"):
                time.sleep(0.15)
    assert len(capsys.readouterr().err.splitlines()) >= 3


def test_a_step_without_a_terminal_says_where_it_is(
    artifacts: type[Artifacts], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.reported("train_model") as tell:
        time.sleep(0.5)
        tell(0.43, 1.0, "epoch 2/4")
        time.sleep(0.5)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "train_model (0:00)"
    assert lines[-1].startswith("train_model:  43 % epoch 2/4 (0:0")
    assert artifacts.told[-1] == (100.0, "train_model: done")


@pytest.mark.parametrize("terminal", [True, False])
def test_finished_work_and_a_training_anew_stay_on_the_terminal(
    terminal: bool, artifacts: type[Artifacts], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ("reusing the finished model 12ab of [2026], computed with CPU", "training anew the same images, because x")
    shown = Terminal()
    if terminal:
        monkeypatch.setattr(sys, "stderr", shown)
    with progress.reported("train_model") as tell:
        for line in lines:
            tell(1.0, 1.0, line)
            tell(1.0, 1.0, line)
        tell(1.0, 1.0, "epoch 1/1")
    text = shown.getvalue() if terminal else capsys.readouterr().err
    assert all(text.count(f"train_model: {line}") == 1 for line in lines)
    assert "train_model: epoch" not in text


def test_a_bar_in_a_terminal_has_the_time_left(artifacts: type[Artifacts], monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with progress.reported("train_model") as tell:
        for step in range(8):
            tell(step, 100, "epoch 1/4")
            time.sleep(0.2)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    # after 7 % in 1.4 s, on an idle machine, 19 s are left
    left = re.findall(r"train_model +\S+ +7% 0:00:\d\d 0:(\d\d:\d\d) epoch 1/4", shown)
    assert left, shown
    assert "00:10" < left[-1] < "02:00"
    assert "(0:0" not in shown, "no line beside the bar"
