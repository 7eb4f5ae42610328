from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pneumonia.data.dvc import compare, dvc_md5, folder_md5, read_record
from pneumonia.errors import DataError
from tests.support.recorded import record

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder of files with the record that DVC itself wrote of them."""
    for name in ("b/two.jpeg", "a/one.jpeg", "a/ü.jpeg"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 100)
    for command in (["init", "--no-scm", "-q"], ["config", "core.analytics", "false"], ["add", "-q", "data"]):
        subprocess.run([sys.executable, "-m", "dvc", *command], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


@pytest.mark.integration
def test_agrees_with_dvc_until_a_file_changes(project: Path) -> None:
    record = project / "data.dvc"
    md5 = dvc_md5(project / "data" / "a", record)
    assert md5 is not None
    assert md5 in record.read_text()
    copy = project / "copy"
    shutil.copytree(project / "data", copy)
    assert folder_md5(copy) == md5
    assert dvc_md5(copy, record) is None, "the record says nothing about other folders"
    (project / "data" / "a" / "one.jpeg").unlink()  # DVC may have linked it, so it is replaced rather than written to
    (project / "data" / "a" / "one.jpeg").write_bytes(b"other")
    assert dvc_md5(project / "data" / "a", record) is None


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A record of three files, with the list of them in DVC's cache."""
    for name in ("a/one.jpeg", "a/two.jpeg", "b/three.jpeg"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 100)
    return record(tmp_path)


def test_differing_files_are_named(recorded: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = recorded.parent / "data"
    assert dvc_md5(data, recorded) is not None
    (data / "a" / "one.jpeg").write_bytes(b"damaged")
    (data / "a" / "two.jpeg").unlink()
    (data / "b" / "new.jpeg").write_bytes(b"new")
    with caplog.at_level(logging.WARNING):
        assert dvc_md5(data, recorded) is None
    found = read_record(recorded)
    assert found is not None
    comparison = compare(found)
    assert (comparison.changed, comparison.missing, comparison.added) == (
        ("a/one.jpeg",),
        ("a/two.jpeg",),
        ("b/new.jpeg",),
    )
    assert comparison.lost == ("a/two.jpeg",)
    assert "1 changed (a/one.jpeg); 1 missing (a/two.jpeg); 1 not recorded (b/new.jpeg)" in caplog.text
    (data / "a" / "one.jpeg").unlink()
    shutil.rmtree(recorded.parent / ".dvc")
    assert "DVC's cache has no list of them" in str(compare(found))


def test_the_content_that_was_read_is_what_is_compared(recorded: Path) -> None:
    """A file that is restored after it was decoded is not the one that the pixels are of."""
    data = recorded.parent / "data"
    assert dvc_md5(data, recorded, {data / "a" / "one.jpeg": "0" * 32}) is None
    assert dvc_md5(data, recorded, {data / "a" / "other.jpeg": "0" * 32}) is not None


def test_a_damaged_list_names_nothing(recorded: Path) -> None:
    (listing,) = recorded.parent.glob(".dvc/cache/files/md5/*/*.dir")
    listing.write_text("[]")
    (recorded.parent / "data" / "a" / "one.jpeg").write_bytes(b"damaged")
    found = read_record(recorded)
    assert found is not None
    assert not compare(found).named


SPOILT = {
    "conflict": lambda text: b"<<<<<<< HEAD\n" + text + b"=======\n" + text + b">>>>>>> other\n",
    "conflict inside": lambda text: text.replace(b"- md5", b"<<<<<<< HEAD\n- md5: 0\n=======\n- md5").replace(
        b"  size", b">>>>>>> x\n  size"
    ),
    "utf-16": lambda text: text.decode().encode("utf-16"),
    "utf-16-le": lambda text: text.decode().encode("utf-16-le"),
    "latin-1": lambda text: text + b"# R\xf6ntgen\n",
    "twice": lambda text: text + text,
}
KEPT = {
    "byte order mark": lambda text: b"\xef\xbb\xbf" + text,
    "carriage returns": lambda text: text.replace(b"\n", b"\r\n"),
    "quoted": lambda text: text.replace(b"path: data", b'path: "data"').replace(b"outs:", b"outs: # a comment"),
}


@pytest.mark.parametrize("how", SPOILT)
def test_what_dvc_refuses_is_refused(recorded: Path, how: str) -> None:
    recorded.write_bytes(SPOILT[how](recorded.read_bytes()))
    with pytest.raises(DataError, match=r"data\.dvc: is not (valid|UTF-8)"):
        dvc_md5(recorded.parent / "data", recorded)
    serialize = pytest.importorskip("dvc.utils.serialize")
    with pytest.raises((serialize.ParseError, UnicodeError)):
        serialize.load_yaml(str(recorded))


@pytest.mark.parametrize("how", KEPT)
def test_what_dvc_reads_is_read(recorded: Path, how: str) -> None:
    recorded.write_bytes(KEPT[how](recorded.read_bytes()))
    assert dvc_md5(recorded.parent / "data", recorded) is not None
    serialize = pytest.importorskip("dvc.utils.serialize")
    assert serialize.load_yaml(str(recorded))["outs"]


@pytest.fixture
def remote(project: Path, tmp_path: Path) -> Path:
    """A remote with the project's files, one of them damaged without a change of its size."""
    place = tmp_path / "remote"
    dvc(project, "remote", "add", "-q", "-d", "r", str(place))
    dvc(project, "push", "-q")
    md5 = hashlib.md5((project / "data" / "a" / "one.jpeg").read_bytes(), usedforsecurity=False).hexdigest()
    file = place / "files" / "md5" / md5[:2] / md5[2:]
    content = file.read_bytes()
    file.chmod(0o644)
    file.write_bytes(b"X" + content[1:])
    return place


def dvc(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)


@pytest.mark.integration
@pytest.mark.parametrize("verify", [False, True])
def test_a_damaged_remote_is_found(project: Path, remote: Path, tmp_path: Path, verify: bool) -> None:
    clone = tmp_path / "clone"
    clone.mkdir()
    dvc(clone, "init", "-q", "--no-scm")
    shutil.copy(project / "data.dvc", clone)
    dvc(clone, "remote", "add", "-q", "-d", "r", str(remote))
    if verify:
        dvc(clone, "remote", "modify", "r", "verify", "true")
    pulled = dvc(clone, "pull")
    found = read_record(clone / "data.dvc")
    assert found is not None
    comparison = compare(found)
    if verify:
        assert pulled.returncode != 0
        assert comparison.lost == ("a/one.jpeg",)
    else:
        assert (pulled.returncode, dvc(clone, "status").returncode) == (0, 0), "DVC sees nothing"
        assert comparison.changed == ("a/one.jpeg",)
        assert dvc_md5(clone / "data", clone / "data.dvc") is None


@pytest.mark.integration
def test_the_stacks_pull_names_what_is_damaged(project: Path, remote: Path, tmp_path: Path) -> None:
    script = (ROOT / "deployments/airflow/pull-data.sh").read_text()
    for place, here in (
        ("/srv/pneumonia", tmp_path / "srv"),
        ("/opt/stack", project),
        ("/opt/pneumonia/bin/dvc", f"{sys.executable} -m dvc"),
        ("/opt/pneumonia/bin/python", sys.executable),
        ("/var/lib/pneumonia", tmp_path / "var"),
    ):
        script = script.replace(place, str(here))
    (tmp_path / "srv").mkdir()

    def pull() -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "DVC_REMOTE_URL": str(remote), "PYTHONPATH": str(ROOT)}
        return subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, check=False)

    damaged = pull()
    assert damaged.returncode != 0
    assert "1 of the missing are not in DVC's cache (a/one.jpeg)" in damaged.stdout
    shutil.rmtree(remote)
    dvc(project, "config", "core.check_update", "false")
    shutil.rmtree(project / ".dvc" / "tmp", ignore_errors=True)  # what DVC believes to be in the remote
    dvc(project, "push", "-q")
    shutil.rmtree(tmp_path / "srv")
    (tmp_path / "srv").mkdir()
    whole = pull()
    assert whole.returncode == 0, whole.stderr
    assert "the files are the recorded ones" in whole.stdout


def test_no_record_no_md5(tmp_path: Path) -> None:
    assert dvc_md5(tmp_path, tmp_path / "data.dvc") is None
    (tmp_path / "data.dvc").write_text("outs: []\n")
    assert dvc_md5(tmp_path, tmp_path / "data.dvc") is None
