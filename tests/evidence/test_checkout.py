"""The recorded commit and data version are brought beside the checkout, or the message says why they cannot be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pneumonia.data.dvc import folder_md5, read_record
from pneumonia.evidence.checkout import CannotReproduce, bring_data, run_script, worktree


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet")
    for number in (1, 2):
        (folder / "file.txt").write_text(f"{number}")
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "--message", f"{number}")
    return folder


def test_an_earlier_commit_is_checked_out_beside_a_checkout_that_is_worked_in(repository: Path) -> None:
    first = git(repository, "rev-parse", "HEAD~1")
    (repository / "file.txt").write_text("changed by hand")
    with worktree(first, repository) as code:
        assert (code / "file.txt").read_text() == "1"
    assert not code.exists()
    assert (repository / "file.txt").read_text() == "changed by hand"
    assert git(repository, "worktree", "list").count("\n") == 0


def test_what_cannot_be_checked_out_says_why(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head, first = git(repository, "rev-parse", "HEAD"), git(repository, "rev-parse", "HEAD~1")
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repository}", str(shallow))
    (tmp_path / "empty").mkdir()
    for commit, place, words in (
        (None, repository, "does not say with which commit"),
        (f"{head}-dirty", repository, "the code was changed after commit"),
        ("0" * 40, repository, "has no commit 000000000000; fetch it"),
        (first, shallow, "this clone is shallow: git fetch --unshallow"),
        (head, tmp_path / "empty", "is no Git repository"),
    ):
        with pytest.raises(CannotReproduce, match=words), worktree(commit, place):
            pass
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotReproduce, match="git is not installed"), worktree(head, repository):
        pass


@pytest.mark.integration
def test_a_script_sees_the_checked_out_code_and_none_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PNEUMONIA_TRAIN__EPOCHS", "7")
    (tmp_path / "marker.py").write_text("here = True")
    script = "import marker, os, sys; print([k for k in os.environ if k.startswith('PNEUMONIA_')], sys.argv[1:])"
    run_script(tmp_path, script, ["a"], tmp_path / "log.txt")
    assert (tmp_path / "log.txt").read_text() == "[] ['a']\n"
    with pytest.raises(CannotReproduce, match=r"has failed in this environment: .*KeyError"):
        run_script(tmp_path, "{}['x']", [], tmp_path / "log.txt")


@pytest.mark.integration
def test_the_data_version_comes_from_the_cache_of_this_machine(repository: Path) -> None:
    images = repository / "data" / "chest_xray"
    images.mkdir(parents=True)
    (images / "a.jpeg").write_bytes(b"first")
    for arguments in (("init", "--quiet", "--no-scm"), ("add", "--quiet", "data")):
        subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=repository, check=True, timeout=120)
    (repository / ".gitignore").write_text("/data\n")
    git(repository, "add", "--all", ".")
    git(repository, "commit", "--quiet", "--message", "data")
    record = read_record(repository / "data.dvc")
    assert record is not None
    (images / "a.jpeg").write_bytes(b"worked on since")
    with worktree(git(repository, "rev-parse", "HEAD"), repository) as code:
        with pytest.raises(CannotReproduce, match=r"data\.dvc of the commit records .* was trained on"):
            bring_data(code, "0" * 32 + ".dir", "data/chest_xray", repository)
        with pytest.raises(CannotReproduce, match="--data DIR"):
            bring_data(code, None, "data/chest_xray", repository)
        found = bring_data(code, record.md5, "data/chest_xray", repository)
        assert found == code / "data" / "chest_xray"
        assert (found / "a.jpeg").read_bytes() == b"first"
        assert folder_md5(code / "data") == record.md5
        assert bring_data(code, record.md5, "/elsewhere/chest_xray", repository) == found
    assert (images / "a.jpeg").read_bytes() == b"worked on since"
