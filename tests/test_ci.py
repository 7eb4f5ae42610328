"""`.ci/run` with stand-ins for all that it calls: its parts, their times and its exit code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def ci(tmp_path: Path) -> Path:
    """`.ci/run` of a checkout beside a shared folder, with stand-ins for all that it calls."""
    folder = tmp_path / "a folder" / "checkout"
    (folder / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci/run", folder / ".ci/run")
    (folder.parent / "shared/tools").mkdir(parents=True)
    for path, code in {
        "bin/make": '[ "$1" != "$BROKEN" ]',
        "bin/docker": "exit 1",
        "checkout/.venv/bin/dvc": "true",
        "shared/tools/container-engine": "exit 1",  # what it prints on standard output is for the shell
    }.items():
        script = folder.parent / path
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(f'#!/bin/bash\n(printf "%s|" "${{0##*/}}" "$@"; echo) >&2\n{code}\n')
        script.chmod(0o755)
    return folder


@pytest.mark.integration
@pytest.mark.parametrize(("features", "marks"), [("avx2 avx512f", "not nightly"), ("avx2", "not nightly and not long")])
@pytest.mark.parametrize("broken", ["", "lint", "test"])
def test_ci_says_how_long_each_part_took_and_ends_with_the_first_that_fails(
    ci: Path, broken: str, features: str, marks: str
) -> None:
    """Also where the container engine does not start: then the tests that need it say so themselves."""
    path = f"{ci.parent / 'bin'}:{os.environ['PATH']}"
    run = ["bash", ".ci/run"]
    processor = ci / "cpuinfo"
    processor.write_text(f"flags : {features}\n")
    environment = {**os.environ, "PATH": path, "BROKEN": broken, "CPUINFO": str(processor)}
    done = subprocess.run(run, cwd=ci, env=environment, capture_output=True, text=True, timeout=60)
    parts = re.findall(r"^part (\w+): \d+ s$", done.stdout, re.MULTILINE)
    wanted = ["install", "lint", "data", "engine", "tests", "run"]
    assert parts == (wanted[: wanted.index({"lint": "lint", "test": "tests"}[broken]) + 1] if broken else wanted)
    assert (done.returncode == 0) is (broken == ""), done.stderr
    if not broken:
        assert f"make|test|MARKS={marks}|ARGS=--durations=20|" in done.stderr
        assert ("are left out" in done.stdout) == ("long" in marks)
        weights = ci.parent / "shared/weights/resnet18-imagenet-partial.pt"
        assert f"--weights '{weights}' --set work=.pneumonia/ci|" in done.stderr
