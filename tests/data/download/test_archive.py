"""Unpacking an archive: what is let in, and what is refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from pneumonia.data.download import archive
from pneumonia.errors import DataError
from tests.support.archives import PARTS, files, make_images, zipped
from tests.support.images import dicom, jpeg, picture


def test_links_are_refused(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, data in make_images().items():
            file.writestr(name, data)
        link = zipfile.ZipInfo("chest_xray/train/NORMAL/link.jpeg")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "/etc/passwd")
    (tmp_path / "a.zip").write_bytes(content.getvalue())
    with pytest.raises(DataError, match=r"link\.jpeg' is a link"):
        archive.unzip(tmp_path / "a.zip", tmp_path / "chest_xray")


def test_a_damaged_archive_leaves_no_folder(tmp_path: Path) -> None:
    content = bytearray(zipped(make_images()))
    content[content.index(jpeg(picture(3))) + 500] ^= 0xFF
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"is damaged.*CRC.*fetch it again"):
        archive.unzip(tmp_path / "a.zip", tmp_path / "chest_xray")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.zip").write_bytes(zipped(make_images()))
    monkeypatch.setattr(archive, "MAX_BYTES", 1000)
    with pytest.raises(DataError, match="the limit is 1000"):
        archive.unzip(tmp_path / "a.zip", tmp_path / "chest_xray")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"other/image.jpeg": b"x"}, "holds no train/ and test/"),
        (make_images("a/") | make_images("b/"), r"holds the layout in (a and b|b and a)"),
        (
            {name: data for name, data in make_images().items() if "test/PNEUMONIA" not in name},
            "no images in test/PNEUMONIA",
        ),
    ],
)
def test_an_archive_of_something_else_is_refused(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    (tmp_path / "a.zip").write_bytes(zipped(members))
    with pytest.raises(DataError, match=message):
        archive.unzip(tmp_path / "a.zip", tmp_path / "chest_xray")


def test_backslashes_are_slashes(tmp_path: Path) -> None:
    members = {name.replace("/", "\\"): data for name, data in make_images().items()}
    members["chest_xray\\train\\NORMAL\\"] = b""  # a folder
    members["chest_xray\\__MACOSX\\train\\NORMAL\\image0.jpeg"] = b"resource fork"
    (tmp_path / "a.zip").write_bytes(zipped(members))
    archive.unzip(tmp_path / "a.zip", tmp_path / "chest_xray")
    assert files(tmp_path / "chest_xray") == {f"{part}/image{at}.jpeg" for at, part in enumerate(PARTS)}


@pytest.mark.parametrize(
    "name",
    ["..\\outside.jpeg", "train\\..\\..\\outside.jpeg", "C:\\outside.jpeg", "c:outside.jpeg", "\\outside.jpeg",
     "\\\\server\\share\\outside.jpeg", "/outside.jpeg", "train/NORMAL/../../../outside.jpeg", "a\\..\\/..\\b.jpeg"],
)  # fmt: skip
def test_paths_outside_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.zip").write_bytes(zipped(make_images() | {name: jpeg(picture())}))
    with pytest.raises(DataError, match="is outside the folder; do not trust this archive"):
        archive.unzip(tmp_path / "a.zip", tmp_path / "chest_xray")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_two_files_of_one_path_are_refused(tmp_path: Path) -> None:
    twins = {"chest_xray/train/NORMAL/a/b.jpeg": b"1", "chest_xray/train/NORMAL/a\\b.jpeg": b"2"}
    (tmp_path / "a.zip").write_bytes(zipped(make_images() | twins))
    with pytest.raises(DataError, match=r"are both train/NORMAL/a/b.jpeg; rename one of them"):
        archive.unzip(tmp_path / "a.zip", tmp_path / "chest_xray")


@pytest.mark.parametrize("packed", [True, False])
def test_images_are_known_by_content_and_in_folders_of_their_own(
    tmp_path: Path, packed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    more = {
        "chest_xray/train/NORMAL/patient 1/IM000001": dicom(picture()),
        "chest_xray/train/NORMAL/notes.txt": b"words",
        "chest_xray/train/NORMAL/Thumbs.db": b"",
        "chest_xray/train/NORMAL/@eaDir/image0.jpeg": b"",
    }
    if packed:
        (tmp_path / "a.zip").write_bytes(zipped(make_images() | more))
        archive.unzip(tmp_path / "a.zip", tmp_path / "chest_xray")
    else:
        for name, content in (make_images() | more).items():
            (tmp_path / "from" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "from" / name).write_bytes(content)
        archive.copy(tmp_path / "from", tmp_path / "chest_xray")
    found = files(tmp_path / "chest_xray")
    assert found == {f"{part}/image{at}.jpeg" for at, part in enumerate(PARTS)} | {"train/NORMAL/patient 1/IM000001"}
    assert "passed over, because they are not JPEG, PNG or DICOM: 1 (chest_xray/train/NORMAL/notes.txt)" in caplog.text


@pytest.mark.parametrize("prefix", ["", "chest_xray/", "CellData/chest_xray/"])
def test_the_layout_is_found_at_any_depth(prefix: str) -> None:
    chosen = archive.choose([*make_images(prefix), "__MACOSX/train/NORMAL/image0.jpeg"], "here")
    assert chosen == {f"{prefix}{part}/image{at}.jpeg": f"{part}/image{at}.jpeg" for at, part in enumerate(PARTS)}
