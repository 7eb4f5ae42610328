from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from pneumonia.data.layout import find_root, scan
from pneumonia.errors import DataError
from tests.support.images import published


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return published(tmp_path / "set", patients=2)


def test_images_are_listed_with_their_place(root: Path) -> None:
    nested = root / "train" / "PNEUMONIA" / "clinic a" / "image.jpeg"
    nested.parent.mkdir()
    nested.write_bytes(b"12345")
    images = scan(root)
    assert [image.path for image in images] == sorted(image.path for image in images)
    assert len(images) == 4 + 2 + 4 + 1
    found = next(image for image in images if image.file == nested)
    assert (found.path, found.label, found.folder) == ("train/PNEUMONIA/clinic a/image.jpeg", 1, "train")
    assert (found.size, found.changed) == (5, nested.stat().st_mtime_ns)
    assert {image.label for image in images if "/NORMAL/" in image.path} == {0}
    assert {image.folder for image in images} == {"train", "val", "test"}


def test_the_root_may_lie_one_level_down(root: Path) -> None:
    assert find_root(root) == root
    outer = root.parent / "outer"
    outer.mkdir()
    inner = root.rename(outer / "chest_xray")
    assert find_root(outer) == inner
    assert [image.path for image in scan(outer)] == [image.path for image in scan(inner)]
    shutil.copytree(inner, outer / "copy")
    with pytest.raises(DataError, match=r"several folders to choose from \(chest_xray, copy\)"):
        find_root(outer)


def test_val_is_optional(root: Path) -> None:
    shutil.rmtree(root / "val")
    assert {image.folder for image in scan(root)} == {"train", "test"}


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (["train"], "train/ is missing"),
        (["test"], "test/ is missing"),
        (["train/NORMAL"], "train/NORMAL/ is missing"),
        (["val/PNEUMONIA"], "val/PNEUMONIA/ is missing"),
        (["train/NORMAL", "test/PNEUMONIA"], "train/NORMAL/ is missing; test/PNEUMONIA/ is missing"),
        (["train", "test"], "neither train/ nor test/"),
    ],
)
def test_missing_folders_are_all_named(root: Path, missing: list[str], message: str) -> None:
    for name in missing:
        shutil.rmtree(root / name)
    with pytest.raises(DataError) as caught:
        scan(root)
    assert message in str(caught.value)
    assert str(root) in str(caught.value)
    assert "with NORMAL/ and PNEUMONIA/ in each" in str(caught.value)


def test_empty_class_folders_are_named(root: Path) -> None:
    for name in ("train/NORMAL", "test/PNEUMONIA"):
        shutil.rmtree(root / name)
        (root / name).mkdir()
        (root / name / ".DS_Store").write_bytes(b"")
    with pytest.raises(DataError, match=r"train/NORMAL/ holds no image .*; test/PNEUMONIA/ holds no image"):
        scan(root)


def test_a_root_that_is_none_is_named(root: Path) -> None:
    with pytest.raises(DataError, match="absent: does not exist"):
        scan(root / "absent")
    file = next(root.rglob("*.jpeg"))
    with pytest.raises(DataError, match=r"\.jpeg: cannot be listed"):
        scan(file)


def test_files_of_other_kinds_are_told_of(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "train" / "NORMAL" / "image.tif").write_bytes(b"")
    (root / "train" / "NORMAL" / "README").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        scan(root)
    assert caplog.messages == [f"{root / 'train' / 'NORMAL'}: 2 file(s) of other kinds are ignored (.tif, README)"]
