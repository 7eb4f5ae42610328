"""Unpacking an archive: what is let in, and what is refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from pneumonia.data.download import archive
from pneumonia.errors import DataError
from tests.support.archives import PARTS, films, zipped
from tests.support.images import jpeg, picture


def test_links_are_refused(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, data in films().items():
            file.writestr(name, data)
        link = zipfile.ZipInfo("chest_xray/train/NORMAL/link.jpeg")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "/etc/passwd")
    (tmp_path / "a.zip").write_bytes(content.getvalue())
    with pytest.raises(DataError, match=r"link\.jpeg' is a link"):
        archive.unzip(tmp_path / "a.zip", tmp_path / "chest_xray")


def test_a_damaged_archive_leaves_no_folder(tmp_path: Path) -> None:
    content = bytearray(zipped(films()))
    content[content.index(jpeg(picture(3))) + 500] ^= 0xFF
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"is damaged.*CRC.*fetch it again"):
        archive.unzip(tmp_path / "a.zip", tmp_path / "chest_xray")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.zip").write_bytes(zipped(films()))
    monkeypatch.setattr(archive, "MAX_BYTES", 1000)
    with pytest.raises(DataError, match="the limit is 1000"):
        archive.unzip(tmp_path / "a.zip", tmp_path / "chest_xray")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"other/film.jpeg": b"x"}, "holds no train/ and test/"),
        (films("a/") | films("b/"), r"holds the layout in (a and b|b and a)"),
        ({name: data for name, data in films().items() if "test/PNEUMONIA" not in name}, "no films in test/PNEUMONIA"),
    ],
)
def test_an_archive_of_something_else_is_refused(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    (tmp_path / "a.zip").write_bytes(zipped(members))
    with pytest.raises(DataError, match=message):
        archive.unzip(tmp_path / "a.zip", tmp_path / "chest_xray")


@pytest.mark.parametrize("prefix", ["", "chest_xray/", "CellData/chest_xray/"])
def test_the_layout_is_found_at_any_depth(prefix: str) -> None:
    chosen = archive.choose([*films(prefix), "__MACOSX/train/NORMAL/film0.jpeg"], "here")
    assert chosen == {f"{prefix}{part}/film{at}.jpeg": f"{part}/film{at}.jpeg" for at, part in enumerate(PARTS)}
