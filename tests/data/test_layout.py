from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from pneumonia.data.layout import find_root, scan, summarise, survey
from pneumonia.errors import DataError
from tests.support.images import jpeg, picture, published


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


def test_everything_that_is_passed_over_is_named_or_counted(root: Path) -> None:
    images = scan(root)
    normal = root / "train" / "NORMAL"
    for name in ("image.tif", "README", "notes.txt"):
        (normal / name).write_bytes(b"")
    (root / "patients.csv").write_bytes(b"")  # belongs there
    (root / "list.xlsx").write_bytes(b"PK")
    (root / "train" / "single.jpeg").write_bytes(jpeg(picture(3)))  # in no class
    (root / "train" / "BACTERIA").mkdir()
    (root / "train" / "BACTERIA" / "one.jpeg").write_bytes(jpeg(picture(3)))
    (root / "__MACOSX").mkdir()
    (root / "Thumbs.db").write_bytes(b"")
    (normal / ".hidden.png").write_bytes(b"")
    found = survey(root)
    assert list(found.images) == images
    assert found.passed_over == (
        "list.xlsx",
        "train/BACTERIA/",
        "train/NORMAL/README",
        "train/NORMAL/image.tif",
        "train/NORMAL/notes.txt",
        "train/single.jpeg",
    )
    assert found.litter == 3
    words = summarise(found.passed_over, found.litter)
    assert words.startswith("passed over, because they are not JPEG, PNG or DICOM: 6 (list.xlsx, train/BACTERIA/, ")
    assert words.endswith(" and 1 more); 3 hidden or of an operating system")


def test_a_class_without_images_names_what_lies_there(root: Path) -> None:
    shutil.rmtree(root / "test" / "NORMAL")
    (root / "test" / "NORMAL").mkdir()
    (root / "test" / "NORMAL" / "scan.tif").write_bytes(b"II*")
    with pytest.raises(DataError, match=r"test/NORMAL/ holds no image \(JPEG, PNG or DICOM\), only scan\.tif"):
        survey(root)


@pytest.mark.parametrize("name", ["x" * 300, "a/" * 3000, "nul\0byte"])
def test_a_root_with_an_impossible_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"cannot be listed .*; name the folder that holds train/"):
        find_root(tmp_path / name)


@pytest.mark.parametrize(
    "name",
    [b"R\xf6ntgen.jpeg", b"two\nlines.jpeg", b"return\rhere.jpeg", b"\x1b[2Jclear.jpeg", b"a,\"b'`$(c).jpeg",
     "\U0001f468\u200d\u2695\ufe0f.jpeg".encode(), b"x" * 250 + b".jpeg", b" .jpeg", b"a\\b.jpeg",
     "u\u0308.jpeg".encode()],
)  # fmt: skip
def test_any_name_is_found_and_can_be_printed(root: Path, name: bytes) -> None:
    place = root / "train" / "NORMAL"
    file = place / os.fsdecode(name)
    file.write_bytes(jpeg(picture(8)))
    (found,) = (image for image in scan(root) if image.file == file)
    assert len(found.path.splitlines()) == 1
    assert "\x1b" not in found.path
    assert json.loads(json.dumps(found.path).encode("utf-8").decode()) == found.path
    found.path.encode("utf-8")


def test_names_that_differ_in_case_or_normal_form_are_different(root: Path) -> None:
    place = root / "train" / "NORMAL"
    names = {"a.png", "A.png", "a.PNG", "\xfc.png", "u\u0308.png"}
    for name in names:
        (place / name).write_bytes(b"x")
    assert names <= {image.path.rpartition("/")[2] for image in scan(root)}


def test_names_that_cannot_be_told_apart_are_refused(root: Path) -> None:
    for name in (b"R\xf6.jpeg", b"R\\xf6.jpeg"):
        (root / "train" / "NORMAL" / os.fsdecode(name)).write_bytes(b"x")
    with pytest.raises(DataError, match=r"two files have names that are both shown as train/NORMAL/R\\xf6\.jpeg"):
        scan(root)
