"""Kaggle's copy of the set, through a stand-in for kagglehub."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from pneumonia.data.download.published import fetch_kaggle
from pneumonia.errors import DataError
from tests.support.archives import PARTS, files, published


class Kaggle(types.ModuleType):
    """Stands in for the service, which needs a login: hands out a folder, or fails."""

    def __init__(self, folder: Path | None) -> None:
        super().__init__("kagglehub")
        self.folder = folder
        self.handles: list[str] = []

    def dataset_download(self, handle: str) -> str:
        self.handles.append(handle)
        if self.folder is None:
            raise PermissionError("403 Client Error: log in")
        return str(self.folder)


def test_kaggles_copy_is_linked_into_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache" / "versions" / "2"
    for name, data in published().items():
        (cache / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).write_bytes(data)
    kaggle = Kaggle(cache)
    monkeypatch.setitem(sys.modules, "kagglehub", kaggle)
    seen: list[tuple[int, int]] = []
    root = fetch_kaggle(tmp_path / "data", lambda done, total: seen.append((done, total)))
    assert files(root) == {f"{part}/film{at}.jpeg" for at, part in enumerate(PARTS)}
    assert kaggle.handles == ["paultimothymooney/chest-xray-pneumonia"]
    assert seen[-1] == (6, 6)
    fetch_kaggle(tmp_path / "data")
    assert len(kaggle.handles) == 1


def test_kaggles_refusal_is_told_with_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", Kaggle(None))
    with pytest.raises(
        DataError, match=r"kaggle\.com/datasets/paultimothymooney.*403.*check the network and the login"
    ):
        fetch_kaggle(tmp_path)


def test_a_missing_kagglehub_is_told_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(DataError, match=r"pip install 'pneumonia\[kaggle\]'"):
        fetch_kaggle(tmp_path)
