"""The version, which several files name, and what the changelog says of it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.delivery import ROOT
from tests.support.loaded import loaded

versions = loaded(ROOT / "deployments/release/versions.py")
notes = loaded(ROOT / "deployments/release/notes.py")
NOW = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
ELSEWHERE = {
    "deployments/kubernetes/pneumonia/Chart.yaml": "the chart's own version, which cannot be 0.2.0rc1",
    "tests/deployments/test_release_versions.py": "of a changelog that is made up",
    "tests/modelling/test_weights.py": "of a record that is made up",
}
"""Files that name the present version where a release does not set it, with the reason."""
OTHERS = (".lock", "CHANGELOG.md")
"""Ends of files that speak of other packages' versions, or of every version of this one."""
CHANGELOG = """# Changelog

## Unreleased

### Added

* Something, see [the page](docs/page.md#part) and [elsewhere](https://example.org).

## 0.2.0 - 2026-02-03

* Older.

## 0.1.0 - 2026-01-02

* Oldest.
"""


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """Every file that names the version, with this project's own content, and a changelog."""
    for name, _ in versions.PLACES:
        for path in ROOT.glob(name):
            copy = tmp_path / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG, encoding="utf-8")
    return tmp_path


def test_every_place_has_the_projects_version() -> None:
    found = dict(versions.found(ROOT))
    assert {"pyproject.toml", "CITATION.cff", "docker-compose.yml", "docs/deployment.md"} <= set(found)
    charts = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("deployments/kubernetes/*/Chart.yaml")}
    assert charts <= set(found)
    assert {version for _, version in versions.found(ROOT)} == {NOW}


def test_no_other_file_names_the_version() -> None:
    """Or a release would leave it behind, and `check` would pass."""
    alone = rf"(^|[^0-9.]){re.escape(NOW)}([^0-9.]|$)"
    command = ["git", "grep", "--untracked", "-InE", alone]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    patterns: dict[str, list[str]] = {}
    for name, pattern in versions.PLACES:
        for path in ROOT.glob(name):
            patterns.setdefault(path.relative_to(ROOT).as_posix(), []).append(pattern)
    lines = [line.split(":", 2) for line in listed.stdout.splitlines()]
    left = {
        name
        for name, _, line in lines
        if not name.endswith(OTHERS) and not any(re.search(pattern, line) for pattern in patterns.get(name, ()))
    }
    assert left == set(ELSEWHERE)


def test_a_version_is_set_everywhere_and_the_tag_is_then_right(places: Path) -> None:
    before = {path: path.read_text() for path in places.rglob("*") if path.is_file()}
    assert versions.problems(places, "v0.3.0"), "nothing has it yet"
    changed = versions.set_version(places, "0.3.0", "2026-03-04")
    assert versions.problems(places, "v0.3.0") == []
    assert {places / name for name in changed} == set(before)
    for path, text in before.items():
        if path.name != "CHANGELOG.md":
            assert path.read_text().replace("0.3.0", NOW) == text, "nothing else has changed"
    assert "## Unreleased\n\n## 0.3.0 - 2026-03-04\n\n### Added\n" in (places / "CHANGELOG.md").read_text()
    with pytest.raises(ValueError, match=r"nothing under '## Unreleased'"):
        versions.set_version(places, "0.4.0", "2026-03-05")


def test_each_place_that_differs_is_named(places: Path) -> None:
    versions.set_version(places, "0.3.0", "2026-03-04")
    compose = places / "docker-compose.yml"
    compose.write_text(compose.read_text().replace(":-0.3.0}", ":-0.2.9}", 1))
    assert versions.problems(places, "v0.3.0") == ["docker-compose.yml: has version 0.2.9, not 0.3.0"]
    (places / "CHANGELOG.md").write_text(CHANGELOG)
    assert versions.problems(places, "v0.3.0")[1].startswith("CHANGELOG.md: has no entry '## 0.3.0 - <date>'")
    (places / "CITATION.cff").write_text("cff-version: 1.2.0\n")
    with pytest.raises(ValueError, match=r"CITATION.cff: names no version"):
        versions.problems(places, "v0.3.0")


@pytest.mark.parametrize("tag", ["0.3.0", "v0.3", "v0.3.0-rc1", "v0.3.0.dev1", "latest", "v0.3.0\n"])
def test_what_is_no_tag_is_refused(places: Path, tag: str) -> None:
    assert "a release's tag is v and a version" in versions.problems(places, tag)[0]


@pytest.mark.parametrize("version", ["v0.3.0", "0.3", "0.3.0-rc1", "0.2.0"])
def test_what_is_no_new_version_is_not_set(places: Path, version: str) -> None:
    before = {path: path.read_text() for path in places.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=re.escape(version)):
        versions.set_version(places, version, "2026-03-04")
    assert {path: path.read_text() for path in before} == before


def test_notes_are_the_versions_own() -> None:
    assert notes.notes(CHANGELOG, "0.2.0") == "* Older.\n"
    assert notes.notes(CHANGELOG, "0.1.0") == "* Oldest.\n"
    text = notes.notes(CHANGELOG, "Unreleased", "https://example.org/blob/v1/")
    assert "[the page](https://example.org/blob/v1/docs/page.md#part)" in text
    assert "[elsewhere](https://example.org)" in text
    for version in ("0.3.0", "0.1", "0x2x0"):
        with pytest.raises(ValueError, match="says nothing of"):
            notes.notes(CHANGELOG, version)


@pytest.mark.integration
def test_they_are_commands_of_a_python_without_any_package(places: Path) -> None:
    def call(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-ISs", ROOT / f"deployments/release/{name}.py", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=30)

    assert call("versions", "show").stdout == f"{NOW}\n"
    assert call("versions", "set", "0.3.0", "--root", places).returncode == 0
    done = call("versions", "check", "v0.3.0", "--root", places)
    assert (done.returncode, done.stdout) == (0, "v0.3.0: every place has it\n")
    done = call("versions", "check", "v0.3.1", "--root", places)
    assert (done.returncode, done.stdout) == (1, "")
    assert "pyproject.toml: has version 0.3.0, not 0.3.1" in done.stderr
    done = call("notes", "0.3.0", "--changelog", places / "CHANGELOG.md")
    assert done.stdout.startswith("### Added\n")
    done = call("notes", "9.9.9", "--changelog", places / "CHANGELOG.md")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
