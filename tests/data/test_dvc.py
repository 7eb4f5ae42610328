from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pneumonia.data.dvc import dvc_md5, folder_md5


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


def test_no_record_no_md5(tmp_path: Path) -> None:
    assert dvc_md5(tmp_path, tmp_path / "data.dvc") is None
    (tmp_path / "data.dvc").write_text("outs: []\n")
    assert dvc_md5(tmp_path, tmp_path / "data.dvc") is None
