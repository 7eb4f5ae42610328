"""The console script as a user starts it: exit codes, streams, one message instead of a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pneumonia
from pneumonia.cli.common import DISCLAIMER
from tests.cli.console import COMMANDS, call


def start(*arguments: str, cwd: Path, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pneumonia", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
    return subprocess.run(command, cwd=cwd, env=environment, text=True, capture_output=True, timeout=120, **options)  # type: ignore[call-overload, no-any-return]


@pytest.mark.integration
def test_help_comes_quickly_and_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from pneumonia.cli.main import app; app(['--help'], standalone_mode=False); "
        "print(sorted({'torch', 'mlflow', 'sklearn', 'numpy', 'requests', 'prefect'} & set(sys.modules)))"
    )

    def run(program: str) -> tuple[str, float]:
        """What it prints, and the seconds of processor time that it takes."""
        before = os.times()
        done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, text=True, capture_output=True, timeout=60)
        after = os.times()
        return done.stdout, sum(after[2:4]) - sum(before[2:4])

    printed, seconds = run(code)
    assert printed.splitlines()[-1] == "[]", "these take seconds to import"
    _, least = run("import importlib.metadata, pydantic, rich.markdown, rich.syntax, typer.rich_utils")
    assert seconds < 3 * least, "the libraries that every help page needs are most of it"


@pytest.mark.integration
def test_both_names_start_it(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("pneumonia")
    for command in ([script], [sys.executable, "-m", "pneumonia"]):
        done = subprocess.run([*command, "--version"], cwd=tmp_path, text=True, capture_output=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{pneumonia.__version__}\n", "")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_teaches(command: tuple[str, ...]) -> None:
    done = call(*command, "--help")
    assert done.exit_code == 0
    assert "Example:" in done.stdout
    assert f"pneumonia {' '.join(command)}" in done.stdout.partition("Example:")[2]


def test_help_says_what_it_is_not() -> None:
    assert DISCLAIMER.split(":")[0] in call("--help").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "No such command"),
        (["predict"], "Missing argument"),
        (["predict", "x.png", "--threshold", "1.5"], "--threshold"),
        (["predict", "x.png", "--nonsense"], "No such option"),
        (["evaluate", ".", "--on-unreadable", "perhaps"], "'fail', 'skip'"),
        (["config", "--profile", "slow"], "choose one of fast, full"),
        (["config", "--format", "xml"], "'toml', 'json', 'yaml'"),
        (["config", "--set", "train.epoch=3"], "train.epoch (from --set): unknown key"),
        (["config", "--set", "train.epochs"], "write it as section.key=value"),
        (["config", "--set", "train.epochs=-1"], "greater than or equal to 1, got '-1'"),
        (["config", "--config", "absent.toml"], "absent.toml: cannot be read"),
        (["data", "phantom", "--train", "4"], "phantom.train"),
        (["data", "fetch", "--from", "kaggle", "--sha256", "0"], "need --from mendeley"),
        (["data", "fetch", "--sha256", "0"], "64 hexadecimal digits"),
        (["promote", "--why", "x"], "name one of --version and --run"),
        (["promote", "--why", "x", "--version", "1", "--run", "r"], "name one of --version and --run"),
        (["promote", "--version", "1"], "--why"),
        (["rollback", "--why", "  "], "give a reason"),
        (["ui", "--mlflow-port", "70000"], "--mlflow-port"),
        (["ui", "--mlflow-port", "5000", "--prefect-port", "5000"], "must differ"),
    ],
    ids=" ".join,
)
def test_wrong_use_ends_with_2(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(*arguments)
    assert done.exit_code == 2
    assert words in " ".join(done.stderr.replace("│", " ").split())
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == [], "nothing was begun"


@pytest.mark.integration
def test_a_failure_is_one_message(tmp_path: Path) -> None:
    done = start("data", "audit", "nowhere", "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: nowhere: does not exist")
    assert "Traceback" not in done.stderr


@pytest.mark.integration
def test_streams_and_exit_code_of_a_refusal(tmp_path: Path, weights: Path, image: Path) -> None:
    (tmp_path / "empty.jpeg").touch()
    (tmp_path / "image.jpeg").write_bytes(image.read_bytes())
    done = start("predict", "image.jpeg", "empty.jpeg", "--model", str(weights), "--json", cwd=tmp_path)
    assert done.returncode == 1
    scored, refused = json.loads(done.stdout)
    assert {"file", "probability", "decision", "threshold", "model", "version"} <= set(scored)
    assert not {"refused", "code"} & set(scored)
    assert refused["file"] == "empty.jpeg"
    assert "zero bytes" in refused["reason"]
    assert "1 of 2 images refused" in done.stderr
    assert DISCLAIMER in done.stderr


@pytest.mark.integration
def test_a_reader_that_goes_away_is_no_trouble(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        command = [sys.executable, "-m", "pneumonia", "config"]
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, cwd=tmp_path, text=True, timeout=60)
    finally:
        os.close(write)
    assert done.stderr == ""
    assert done.returncode == 141


def test_an_interrupt_is_told_in_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pneumonia.cli.common.resolve", interrupted)
    done = call("config")
    assert (done.exit_code, done.stdout, done.stderr) == (130, "", "stopped\n")


def test_a_bug_is_one_message_and_a_file_with_the_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr("pneumonia.boundary._work", None)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("pneumonia.cli.common.resolve", broken)
    done = call("config")
    (log,) = tmp_path.iterdir()
    assert (done.exit_code, done.stdout) == (70, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: ZeroDivisionError: a mistake. The traceback is in {log}. ")
    assert "in broken" in log.read_text()
