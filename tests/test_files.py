"""Files that appear whole or not at all, and folders held by one process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pneumonia.errors import DataError, PneumoniaError
from pneumonia.files import (
    AtomicFile,
    is_folder,
    is_regular_file,
    locked_folder,
    printable,
    write_bytes,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_text_is_written_as_utf8_into_folders_that_are_made(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a" / "b" / "é.txt", "Größe\n")
    assert path.read_bytes() == "Größe\n".encode()
    assert names(path.parent) == ["é.txt"]


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old and long")
    assert write_bytes(path, b"new") == path
    assert path.read_bytes() == b"new"


def test_nothing_is_there_until_all_is(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with AtomicFile(path) as file:
        file.write(b"first ")
        assert not path.exists()
        file.write(b"second")
        file.write(b"FIRST", at=0)
    assert path.read_bytes() == b"FIRST second"
    assert names(tmp_path) == ["file"]


def test_an_exception_leaves_what_was_there(tmp_path: Path) -> None:
    path = write_text(tmp_path / "file", "old")
    with contextlib.suppress(KeyError), AtomicFile(path) as file:
        file.write(b"new")
        raise KeyError
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_full_disk_is_told_and_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_text(tmp_path / "file", "old")

    def full(*_: object) -> int:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as broken:
        broken.setattr(os, "write", full)
        with pytest.raises(DataError, match=r"file: cannot be written \(No space left on device\); free space or"):
            write_text(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_short_writes_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.write
    with monkeypatch.context() as slow:
        slow.setattr(os, "write", lambda file, content: whole(file, bytes(content[:3])))
        write_text(tmp_path / "file", "ten letters")
    assert (tmp_path / "file").read_text() == "ten letters"


def test_a_file_in_the_folders_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot be written"):
        write_text(tmp_path / "file" / "inside", "text")


WRITER = """
import sys, time
from pathlib import Path
from pneumonia.files import AtomicFile
with AtomicFile(Path(sys.argv[1])) as file:
    file.write(b"half")
    print("written", flush=True)
    time.sleep(60)
"""


@pytest.mark.integration
def test_what_a_killed_writer_left_is_swept_away_but_not_a_living_ones(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        write_text(path, "mine")
        assert len(names(tmp_path)) == 2, "the other's temporary file is still locked"
        writer.kill()
    assert len(names(tmp_path)) == 2
    write_text(path, "mine again")
    assert names(tmp_path) == ["file"]
    assert path.read_text() == "mine again"


def test_a_folder_is_held_once(tmp_path: Path) -> None:
    folder = tmp_path / "training"
    with (
        locked_folder(folder),
        pytest.raises(PneumoniaError, match="another process runs this training"),
        locked_folder(folder),
    ):
        pytest.fail("held twice")
    with locked_folder(folder):
        pass


HOLDER = """
import sys, time
from pathlib import Path
from pneumonia.files import locked_folder
with locked_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.integration
def test_a_killed_holder_holds_no_longer(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(PneumoniaError, match="another process"), locked_folder(tmp_path):
            pytest.fail("held twice")
        holder.kill()
    with locked_folder(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(PneumoniaError, match=r"cannot be written .*set work=DIR"),
        locked_folder(tmp_path / "file" / "training"),
    ):
        pytest.fail("held a folder that is none")


def test_a_lock_is_let_go_on_an_exception(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked_folder(tmp_path):
        raise KeyError
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain ü.png", "plain ü.png"),
        ("\U0001f468\u200d\u2695\ufe0f.png", "\U0001f468\u200d\u2695\ufe0f.png"),
        (os.fsdecode(b"R\xf6.png"), r"R\xf6.png"),
        ("two\nlines\r\t\x1b[2J\x85", r"two\x0alines\x0d\x09\x1b[2J\x85"),
        ("a\u2028b\u2029c\ud800", r"a\u2028b\u2029c\ud800"),
    ],
)
def test_a_printable_name_is_one_line_of_text(name: str, shown: str) -> None:
    assert printable(name) == shown
    assert len(printable(name).splitlines()) == 1
    printable(name).encode("utf-8")


def test_a_path_that_cannot_exist_is_no_file_and_no_folder() -> None:
    for path in ("x" * 300, "a\0b", "/dev/null/x"):
        assert not is_folder(path)
        assert not is_regular_file(path)
