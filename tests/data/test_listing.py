"""Files below a folder: which are images by name or content, what links lead to, and what is passed over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydicom.uid import MediaStorageDirectoryStorage

from pneumonia.data.listing import Listing, list_files
from pneumonia.errors import DataError
from tests.support.images import dicom, jpeg, picture, png

GREY = picture(1)
IMAGES = {
    "IM000001": dicom(GREY),
    "1.2.840.113619.2.5.1762583153": dicom(GREY),
    "image.ima": dicom(GREY),
    "image.IMA": dicom(GREY),
    "scan.jpe": jpeg(GREY),
    "thumbnail": png(GREY),
    "photo.JPG": jpeg(GREY),
    "damaged.dcm": b"no DICOM",  # named like an image: refused by the decoder, not passed over
    "dated.2024": jpeg(GREY),
}
OTHERS = {
    "notes.txt": b"words",
    "list.csv": b"a,b",
    "table.xlsx": b"PK\3\4",
    "DICOMDIR": b"\0" * 128 + b"DICM",
    "dicomdir;1": b"\0" * 128 + b"DICM",
    "old.tif": b"II*\0",
    "empty": b"",
    "short": b"\xff",
}
LITTER = (".DS_Store", "Thumbs.db", "THUMBS.DB", "desktop.ini", "._IM000001", ".hidden.png")


def names(listing: Listing) -> tuple[set[str], set[str]]:
    return {file.name for file in listing.images}, {file.name for file in listing.others}


def test_images_are_known_by_name_or_content_and_the_rest_is_named(tmp_path: Path) -> None:
    for name, content in {**IMAGES, **OTHERS}.items():
        (tmp_path / name).write_bytes(content)
    for name in LITTER:
        (tmp_path / name).write_bytes(jpeg(GREY))
    for name in ("__MACOSX", "@eaDir", ".hidden"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "image.png").write_bytes(png(GREY))
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    os.mkfifo(tmp_path / "pipe.png")
    found = list_files(tmp_path)
    assert names(found) == (set(IMAGES), {*OTHERS, "pipe", "pipe.png"})
    assert found.litter == len(LITTER) + 3
    assert list(found.images) == sorted(found.images)


def test_a_media_directory_of_another_name_is_no_image(tmp_path: Path) -> None:
    content = dicom(GREY)
    index = content.replace(b"1.2.840.10008.5.1.4.1.1.1\0", MediaStorageDirectoryStorage.encode().ljust(26, b"\0"))
    assert index != content
    (tmp_path / "INDEX").write_bytes(index)
    assert names(list_files(tmp_path)) == (set(), {"INDEX"})


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with two images, and beside it another one."""
    for name in ("set/a/one", "set/a/deep/two", "elsewhere/three", "elsewhere/more/four"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(jpeg(GREY))
    return tmp_path / "set"


def relative(tree: Path) -> list[str]:
    return [file.relative_to(tree).as_posix() for file in list_files(tree).images]


def test_links_are_followed_once(tree: Path) -> None:
    (tree / "A link").symlink_to(tree.parent / "elsewhere")
    (tree / "B again").symlink_to(tree.parent / "elsewhere" / "more")
    (tree / "C relative").symlink_to("../elsewhere")
    assert relative(tree) == ["A link/more/four", "A link/three", "a/deep/two", "a/one"]


def test_links_make_no_loop_and_bring_nothing_in_from_above(tree: Path) -> None:
    (tree / "itself").symlink_to(tree)
    (tree / "a" / "up").symlink_to("..")
    (tree / "a" / "deep" / "sideways").symlink_to(tree / "a")
    (tree / "above").symlink_to(tree.parent)
    (tree / "everything").symlink_to("/")
    assert relative(tree) == ["a/deep/two", "a/one"]
    assert {path.name for path in list_files(tree).others} == {"above", "everything"}


def test_a_folder_that_is_a_link_is_listed_as_any_other(tree: Path) -> None:
    link = tree.parent / "link"
    link.symlink_to(tree)
    assert relative(link) == ["a/deep/two", "a/one"]


def test_a_file_reached_twice_is_counted_once(tree: Path) -> None:
    (tree / "again.jpeg").symlink_to("a/one")
    (tree / "b").mkdir()
    (tree / "b" / "again.jpeg").symlink_to(tree / "a" / "deep" / "two")
    assert relative(tree) == ["a/deep/two", "a/one"]


def test_links_to_one_file_elsewhere_are_files_of_their_own(tree: Path) -> None:
    """DVC may link equal images to one file of its cache; the set has both of them all the same."""
    for name in ("x.jpeg", "y.jpeg"):
        (tree / name).symlink_to(tree.parent / "elsewhere" / "three")
    assert relative(tree) == ["a/deep/two", "a/one", "x.jpeg", "y.jpeg"]


def test_broken_links_and_what_may_not_be_read_are_left_to_the_reader(tree: Path) -> None:
    (tree / "gone").symlink_to(tree / "nothing")
    (tree / "loop").symlink_to("loop")
    assert relative(tree) == ["a/deep/two", "a/one", "gone", "loop"]


def test_a_folder_that_cannot_be_listed_is_named(tree: Path) -> None:
    with pytest.raises(DataError, match="nothing: the folder cannot be listed"):
        list_files(tree / "nothing")
