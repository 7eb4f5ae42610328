"""The work folder's database: its URI for any name of the folder, and the remedy where it cannot be used."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pneumonia.errors import TrackingError
from pneumonia.inference.predictor import Predictor
from pneumonia.tracking import database
from pneumonia.tracking.client import check_store, download_artifact, mlflow_client, tracking_uri
from pneumonia.tracking.database import database_path, database_uri, missing_files, roots_elsewhere
from tests.support.runs import settings
from tests.support.trained import leave_run, save

ODD = ["feature%2Fxray", "a?b", "a#b", "100%", "a%20b", "a b", "ü", "a'b;c&d=e", "%3F?%25"]


@pytest.mark.parametrize("name", ODD)
def test_a_folder_of_any_name_holds_its_database_and_nothing_is_made_beside_it(
    tmp_path: Path, name: str, mlflow_database: Path
) -> None:
    work = tmp_path / name / "work"
    work.mkdir(parents=True)
    shutil.copyfile(mlflow_database, work / "mlflow.db")
    config = settings(work)
    uri = tracking_uri(config)
    assert database_path(uri) == work / "mlflow.db"
    check_store(uri)
    run = leave_run(config, None)
    mlflow_client(uri).log_text(run, "words", "a.txt")
    assert download_artifact(uri, run, "a.txt", tmp_path / name / "got").read_text() == "words"
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert {path.name for path in work.iterdir()} == {"mlflow.db", "artifacts"}
    with contextlib.closing(sqlite3.connect(work / "mlflow.db")) as opened:
        assert opened.execute("select run_uuid from runs").fetchall() == [(run,)]


def test_a_plain_name_has_the_plain_uri() -> None:
    assert database_uri(Path("/data/my work/mlflow.db")) == "sqlite:////data/my work/mlflow.db"


def test_a_stray_folder_that_holds_something_stays(tmp_path: Path) -> None:
    (tmp_path / "a%252Fb" / "mine").mkdir(parents=True)
    with database.no_stray_folders(database_uri(tmp_path / "a%2Fb" / "w" / "mlflow.db")):
        (tmp_path / "a%252Fb" / "w").mkdir()
    assert [path.name for path in (tmp_path / "a%252Fb").iterdir()] == ["mine"]


@contextlib.contextmanager
def holding(path: Path, lock: str) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(f"BEGIN {lock}")
        yield
        other.execute("ROLLBACK")


@pytest.mark.parametrize(("lock", "reading"), [("EXCLUSIVE", False), ("IMMEDIATE", True)])
def test_a_locked_database_says_so(work: Path, lock: str, reading: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCK_SECONDS", 0.1)
    uri = tracking_uri(settings(work))
    with holding(work / "mlflow.db", lock):
        with pytest.raises(TrackingError, match=r"locked by another process .*; wait for it or end it, then") as caught:
            check_store(uri)
        assert not caught.value.permanent
        if reading:
            check_store(uri, writing=False)
        else:
            with pytest.raises(TrackingError, match="locked by another process"):
                check_store(uri, writing=False)
    check_store(uri)


@pytest.mark.parametrize("writing", [True, False])
def test_a_database_of_a_newer_mlflow_says_so(work: Path, writing: bool) -> None:
    with contextlib.closing(sqlite3.connect(work / "mlflow.db")) as opened:
        opened.execute("update alembic_version set version_num = 'ffffffffffff'")
        opened.commit()
    with pytest.raises(TrackingError, match=r"made by another version of MLflow .*; install the version that made it"):
        check_store(tracking_uri(settings(work)), writing=writing)


def test_a_damaged_database_says_so(work: Path) -> None:
    file = work / "mlflow.db"
    content = bytearray(file.read_bytes())
    content[100:4096] = bytes(3996)
    file.write_bytes(content)
    with pytest.raises(TrackingError, match=r"cannot be used \(.*\); restore it from a backup, or move it away"):
        check_store(tracking_uri(settings(work)))


def test_a_database_that_can_only_be_read_will_do_for_reading(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = tracking_uri(settings(work))

    def refuse(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    check_store(uri, writing=False)
    with pytest.raises(TrackingError, match=r"cannot be written \(Read-only file system\)"):
        check_store(uri)


def test_a_check_changes_nothing(work: Path) -> None:
    content = (work / "mlflow.db").read_bytes()
    check_store(tracking_uri(settings(work)))
    assert (work / "mlflow.db").read_bytes() == content
    assert [path.name for path in work.iterdir()] == ["mlflow.db"]


def test_a_moved_work_folder_is_explained(work: Path, tmp_path: Path) -> None:
    run = leave_run(settings(work), save(tmp_path / "model.safetensors", "pneumonia-resnet18"))
    moved = work.rename(tmp_path / "moved to")
    config = settings(moved)
    words = rf"seeks its files in .*work folder/artifacts.*; the work folder was moved: .* ln -s '{moved}' '{work}'"
    with pytest.raises(TrackingError, match=words) as caught:
        Predictor.load(f"runs:/{run}", config)
    assert caught.value.permanent
    (root,) = [root for root in roots_elsewhere(tracking_uri(config)) if root.endswith("/artifacts")]
    assert "ln -s" in str(missing_files(root, tracking_uri(config)))
    work.symlink_to(moved)  # the remedy
    assert Predictor.load(f"runs:/{run}", config).version == f"run:{run}"


def test_files_that_were_removed_are_explained(work: Path, tmp_path: Path) -> None:
    run = leave_run(settings(work), save(tmp_path / "model.safetensors", "pneumonia-resnet18"))
    shutil.rmtree(work / "artifacts")
    with pytest.raises(
        TrackingError, match="which is not there; no run has stored a file yet, or they were removed: bring that"
    ):
        Predictor.load(f"runs:/{run}", settings(work))
