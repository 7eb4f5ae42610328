"""A data version is recorded by DVC, and its record committed, where there is something to record."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pneumonia.data.dvc import compare, read_record
from pneumonia.data.recording import add_version, commit_record, find_record
from pneumonia.errors import DataError
from tests.support.images import jpeg, picture, published
from tests.support.recorded import record


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def repository(folder: Path) -> Path:
    git(folder, "init", "--quiet")
    git(folder, "config", "user.name", "A")
    git(folder, "config", "user.email", "a@example.org")
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A recorded data set, whose root lies in the recorded folder."""
    published(tmp_path / "data" / "chest_xray")
    record(tmp_path)
    return tmp_path


def root_of(project: Path) -> Path:
    return project / "data" / "chest_xray"


def test_the_record_is_found_in_the_project_or_beside_the_folder(project: Path, tmp_path: Path) -> None:
    found = find_record(root_of(project), project)
    assert found is not None
    assert found.folder == project / "data"
    assert find_record(root_of(project), tmp_path / "elsewhere") == found  # beside the folder that holds it
    assert find_record(tmp_path, project) is None


def test_nothing_is_recorded_where_the_files_are_the_recorded_ones(project: Path) -> None:
    found = find_record(root_of(project), project)
    assert found is not None
    assert add_version(found) == (found, "")  # starts no process: the test is not marked as one that does


def test_a_folder_that_differs_in_other_files_is_left_to_a_person(project: Path) -> None:
    found = find_record(root_of(project), project)
    assert found is not None
    (root_of(project) / "train" / "NORMAL" / "site_0.jpeg").write_bytes(jpeg(picture(50)))
    (root_of(project) / "train" / "NORMAL" / "strange.jpeg").write_bytes(jpeg(picture(51)))
    same, note = add_version(found)
    assert same == found
    assert "strange.jpeg" in note
    assert "site_0" not in note


@pytest.mark.integration
def test_dvc_records_what_was_ingested(tmp_path: Path) -> None:
    published(tmp_path / "data" / "chest_xray")
    for command in (["init", "--no-scm", "-q"], ["config", "core.analytics", "false"], ["add", "-q", "data"]):
        subprocess.run([sys.executable, "-m", "dvc", *command], cwd=tmp_path, check=True, capture_output=True)
    before = find_record(root_of(tmp_path), tmp_path)
    assert before is not None
    (root_of(tmp_path) / "train" / "NORMAL" / "site_0.jpeg").write_bytes(jpeg(picture(50)))
    after, note = add_version(before)
    assert note == ""
    assert after.md5 != before.md5
    assert compare(after).same
    assert read_record(tmp_path / "data.dvc") == after
    assert add_version(after) == (after, "")


@pytest.mark.integration
def test_a_failure_of_dvc_is_said_in_its_words(project: Path) -> None:
    found = find_record(root_of(project), project)
    assert found is not None
    (root_of(project) / "train" / "NORMAL" / "site_0.jpeg").write_bytes(jpeg(picture(50)))
    with pytest.raises(DataError, match="dvc add has failed"):
        add_version(found)  # the folder was never initialised


def test_the_record_alone_is_committed_once(project: Path) -> None:
    repository(project)
    (project / ".gitignore").write_text("/data\n/.dvc\n")
    (project / "other.txt").write_text("staged by somebody")
    git(project, "add", "other.txt")
    found = find_record(root_of(project), project)
    assert found is not None
    commit, note = commit_record(found, "Data version: 3 NORMAL")
    assert note == ""
    assert commit == git(project, "rev-parse", "HEAD").strip()
    assert git(project, "show", "--name-only", "--format=%s", "HEAD").split("\n\n") == [
        "Data version: 3 NORMAL",
        "data.dvc\n",
    ]
    assert "A  other.txt" in git(project, "status", "--porcelain")
    assert commit_record(found, "again") == (None, "")


def test_without_a_repository_nothing_is_committed(project: Path) -> None:
    found = find_record(root_of(project), project)
    assert found is not None
    commit, note = commit_record(found, "x")
    assert commit is None
    assert "no Git repository" in note
