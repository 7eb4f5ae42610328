"""`pneumonia score`: what it refuses before it reads anything, and where it says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.console import call


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--out", "x.csv"), "name a file that ends in .parquet"),
        (("--out", "s3://x.parquet"), "names no file"),
        (("--out", "x.parquet", "--address", "127.0.0.1:1"), "add --engine ray"),
        (("--out", "x.parquet", "--engine", "spark"), "'spark' is not one of 'local', 'ray'"),
    ],
)
def test_a_wrong_argument_is_wrong_use(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    done = call("score", str(tmp_path), *arguments, "--set", f"work={tmp_path / 'work'}")
    assert done.exit_code == 2
    assert words in done.stderr


def test_a_missing_folder_and_one_without_images_are_refused(tmp_path: Path) -> None:
    for folder, words in ((tmp_path / "none", "is no folder"), (tmp_path, "holds no image")):
        done = call("score", str(folder), "--out", str(tmp_path / "x.parquet"), "--set", f"work={tmp_path / 'work'}")
        assert done.exit_code == 1
        assert words in done.stderr


def test_a_password_in_an_address_is_not_repeated(tmp_path: Path) -> None:
    done = call("score", "ftp://me:hidden@127.0.0.1:1/in", "--out", "x.parquet", "--set", f"work={tmp_path / 'work'}")
    assert done.exit_code == 2
    assert "ftp://***: holds a user or a password" in done.stderr
    assert "hidden" not in done.output
