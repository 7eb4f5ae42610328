"""Kept images: named by what they hold, once for equal files, without identifiers, deleted in time."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from pneumonia.config.schema import PreprocessConfig
from pneumonia.config.service import MonitoringConfig
from pneumonia.errors import DataError
from pneumonia.imaging.dicom import read_identifiers
from pneumonia.imaging.radiograph import read_bytes
from pneumonia.monitoring.kept_images import delete_old_images, digest_of, keep, kept_file
from pneumonia.monitoring.recorder import Recorder
from tests.support.events import database_in
from tests.support.identified import PATIENT_ID, STUDY_UID, identified, leaked
from tests.support.images import jpeg, picture, png


@pytest.mark.parametrize(
    ("content", "suffix"), [(jpeg(picture(1)), "jpeg"), (png(picture(1)), "png"), (identified(picture(1)), "dcm")]
)
def test_an_image_is_kept_under_the_digest_of_what_is_stored(tmp_path: Path, content: bytes, suffix: str) -> None:
    name = keep(tmp_path, content)
    file = kept_file(tmp_path, name)
    assert file is not None
    stored = file.read_bytes()
    digest = hashlib.sha256(stored).hexdigest()
    assert name == f"images/{digest[:2]}/{digest}.{suffix}"
    assert len(name) <= 80  # of the event's column
    assert digest_of(name) == digest
    assert leaked(stored) == []
    size = PreprocessConfig(size=64)
    assert read_bytes(stored, size).pixels.tobytes() == read_bytes(content, size).pixels.tobytes()


def test_equal_pictures_are_kept_once(tmp_path: Path) -> None:
    first = keep(tmp_path, jpeg(picture(1), comment=b"of one person"))
    file = tmp_path / first
    os.utime(file, (1, 1))
    assert keep(tmp_path, jpeg(picture(1), comment=b"of another")) == first
    assert file.stat().st_mtime > 1
    assert len([each for each in tmp_path.rglob("*") if each.is_file()]) == 1


def test_old_images_are_deleted(tmp_path: Path) -> None:
    names = [keep(tmp_path, png(picture(seed))) for seed in range(3)]
    os.utime(tmp_path / names[0], (0, 0))
    os.utime(tmp_path / names[1], (86_400 * 9, 86_400 * 9))
    assert delete_old_images(tmp_path, 0, now=86_400 * 10) == 0
    assert delete_old_images(tmp_path, 5, now=86_400 * 10) == 1
    assert [kept_file(tmp_path, name) is not None for name in names] == [False, True, True]
    assert delete_old_images(tmp_path / "nothing", 5) == 0


def test_what_is_no_image_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be kept"):
        keep(tmp_path, b"hello")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_leads_elsewhere_is_no_kept_image(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    folder = tmp_path / "monitoring"
    folder.mkdir()
    for name in ("../secret", "/etc/passwd", "images/../../secret", "images/aa/" + "b" * 64 + ".png", ""):
        assert kept_file(folder, name) is None


def test_identifiers_are_read_once_for_their_hashes() -> None:
    assert read_identifiers(identified()) == (PATIENT_ID, STUDY_UID)
    assert read_identifiers(identified(PatientID="")) == ("", STUDY_UID)
    assert read_identifiers(b"no DICOM") == ("", "")


def test_the_recorder_deletes_what_is_older_than_the_retention(tmp_path: Path) -> None:
    old, new = (keep(tmp_path, png(picture(seed))) for seed in range(2))
    os.utime(tmp_path / old, (0, 0))
    recorder = Recorder(MonitoringConfig(retention_days=30), tmp_path, database_in(tmp_path), Counted())
    recorder._cleaned = -1e9  # as if the machine had been up for long
    recorder.start()
    deadline = time.monotonic() + 20
    while kept_file(tmp_path, old) is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    recorder.stop()
    assert kept_file(tmp_path, old) is None
    assert kept_file(tmp_path, new) is not None


class Counted:
    """Counters that nobody reads."""

    def recorded(self, events: int) -> None:
        pass

    def lost(self, reason: str) -> None:
        pass

    def database_up(self, up: bool) -> None:
        pass
