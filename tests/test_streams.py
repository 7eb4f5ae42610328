"""Standard streams as shells hand them over: full, closed, without a reader, in an encoding without all letters."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration  # a process each

FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux alone has a device that is always full")
COMMANDS = [["--version"], ["--help"], ["predict", "--help"], ["config"], ["config", "--format", "json"], ["history"]]


def start(command: list[str], cwd: Path, before: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command by a shell, with a redirection of its output."""
    quoted = " ".join([sys.executable, "-m", "pneumonia", *command])
    return subprocess.run(
        ["sh", "-c", f"{quoted} {before}"],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=60,
    )


@FULL
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_full_disk_below_standard_output_is_told(command: list[str], tmp_path: Path) -> None:
    done = start(command, tmp_path, "> /dev/full")
    assert done.returncode == 1
    assert done.stderr == (
        "error: standard output cannot be written (No space left on device); free space, or redirect it to another "
        "place\n"
    )


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_reader_that_ends_is_no_error(command: list[str], tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        arguments = [sys.executable, "-m", "pneumonia", *command]
        done = subprocess.run(arguments, stdout=write, stderr=subprocess.PIPE, cwd=tmp_path, text=True, timeout=60)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_closed_standard_output_takes_nothing_and_harms_nothing(tmp_path: Path) -> None:
    done = start(["history"], tmp_path, ">&-")
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("looked in sqlite:")
    assert [path for path in tmp_path.rglob("*") if path.is_file() and b"No model" in path.read_bytes()] == []


@FULL
def test_a_full_standard_error_changes_no_exit_code(tmp_path: Path) -> None:
    assert start(["config", "--set", "nonsense=3"], tmp_path, "2> /dev/full").returncode == 2


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_names_without_letters_in_the_locale_are_escaped(variables: dict[str, str], tmp_path: Path) -> None:
    done = start(["config", "--set", "work=R\u00f6ntgen"], tmp_path, PYTHONCOERCECLOCALE="0", **variables)
    if "LC_ALL" in variables:  # in the locale C the name is bytes, which no folder that is set may have
        assert (done.returncode, done.stdout) == (2, "")
        assert "UTF-8" in done.stderr
    else:
        assert (done.returncode, done.stderr) == (0, "")
        assert tomllib.loads(done.stdout)["work"] == "R\u00f6ntgen"
    assert start(["--help"], tmp_path, PYTHONCOERCECLOCALE="0", **variables).returncode == 0


def test_output_that_is_not_buffered_stays_so(tmp_path: Path) -> None:
    """As in a container, whose log would show nothing of a program that is killed."""
    code = "import os; from pneumonia.environment import prepare; prepare(); print('a line'); os._exit(0)"
    for variables, printed in (({"PYTHONUNBUFFERED": "1"}, "a line\n"), ({"PYTHONUNBUFFERED": ""}, "")):
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **variables}, capture_output=True, text=True
        )
        assert done.stdout == printed
