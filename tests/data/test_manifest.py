from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from pneumonia.data.manifest import COLUMNS, Entry, Manifest
from pneumonia.data.patients import identify
from pneumonia.errors import DataError

FIRST = Entry("test/NORMAL/IM-1.jpeg", "ab", 0, "IM-1", "test", "test", 300, 200, "jpeg;L;q=5.2", "cd", 9000)
SECOND = Entry('train/NORMAL/a,"b"\nü.png', "ef", 0, "a", "train", "validation", 64, 65, "png;L;8", "01", 4100)
THIRD = Entry("train/PNEUMONIA/p\udcff.png", "23", 1, "p", "val", "train", 64, 65, "png;L;8", "45", 4200)
MANIFEST = Manifest((FIRST, SECOND, THIRD))


def test_saved_and_loaded_alike(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "manifest.csv"
    MANIFEST.save(path)
    assert Manifest.load(path) == MANIFEST
    assert path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()[0] == ",".join(COLUMNS)
    assert [file.name for file in path.parent.iterdir()] == ["manifest.csv"]


def test_the_digest_names_the_data_and_not_its_use() -> None:
    for change in ({"split": "unused"}, {"pixels_sha256": "99"}, {"patient_source": "table"}):
        assert Manifest((replace(FIRST, **change), SECOND, THIRD)).digest == MANIFEST.digest  # type: ignore[arg-type]
    changes = [{"sha256": "x"}, {"label": 1}, {"patient": "x"}, {"folder": "val"}, {"width": 1}, {"encoding": "x"}]
    digests = {Manifest((replace(FIRST, **change), SECOND, THIRD)).digest for change in changes}  # type: ignore[arg-type]
    assert len(digests | {MANIFEST.digest, Manifest((FIRST, SECOND)).digest}) == len(changes) + 2


def test_the_split_digest_names_the_split() -> None:
    moved = Manifest((FIRST, replace(SECOND, split="train"), THIRD))
    assert moved.split_digest != MANIFEST.split_digest
    assert Manifest((FIRST, replace(SECOND, width=1), THIRD)).split_digest == MANIFEST.split_digest


def test_digests_are_fixed_for_all_time() -> None:
    """They are compared between machines and years: a change of the canonical table must be meant."""
    assert MANIFEST.digest == "7057602fc23460ba3978d324f39c2fdea9a1b3153b84abc98c6301690b021f66"
    assert MANIFEST.split_digest == "79b85ac16eadd17ffae665361be08a67c4adeca10dbb955865c5d00ff26431ca"


def test_columns_as_arrays() -> None:
    assert MANIFEST.labels.dtype == np.int64
    assert MANIFEST.labels.tolist() == [0, 0, 1]
    assert MANIFEST.patients == ["IM-1", "a", "p"]
    assert MANIFEST.indices("validation").tolist() == [1]
    assert MANIFEST.indices("unused").dtype == np.int64
    assert MANIFEST.indices("unused").tolist() == []
    with pytest.raises(ValueError, match="val"):
        MANIFEST.indices("val")


def test_entries_are_sorted_and_single() -> None:
    for entries in ((SECOND, FIRST), (FIRST, FIRST)):
        with pytest.raises(ValueError, match="sorted"):
            Manifest(entries)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "line 1"),
        (lambda text: text.replace("sha256", "md5", 1), "line 1"),
        (lambda text: text.replace(",300,", ",wide,"), "wide"),
        (lambda text: text.replace(",300,", ","), "11 columns"),
        (lambda text: text[:-6] + '"', "not a manifest"),
        (lambda text: text + text.splitlines()[1] + "\n", "sorted"),
        (lambda text: text.replace(",0,IM-1,", ",2,IM-1,"), "label"),
        (lambda text: text.replace(",test,test,", ",test,tset,"), "tset"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, change: object, message: str) -> None:
    path = tmp_path / "manifest.csv"
    Manifest((FIRST,)).save(path)
    path.write_text(change(path.read_text()))  # type: ignore[operator]
    with pytest.raises(DataError, match=message) as caught:
        Manifest.load(path)
    assert str(path) in str(caught.value)


def test_missing_and_unwritable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.csv"):
        Manifest.load(tmp_path / "absent.csv")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"file/manifest\.csv: cannot be written"):
        MANIFEST.save(tmp_path / "file" / "manifest.csv")


@pytest.mark.real
def test_no_patient_of_the_published_set_is_on_both_sides(shared: Path) -> None:
    listing = next((shared / "dvc-remote").rglob("*.dir"))
    paths = [PurePosixPath(item["relpath"]) for item in json.loads(listing.read_text())]
    keys = {"train": set(), "test": set(), "val": set()}  # type: dict[str, set[str]]
    for path in paths:
        patient = identify(str(path))
        assert patient.source == "name"
        keys[path.parts[1]].add(patient.key)
    assert len(paths) == 5856
    assert not keys["test"] & (keys["train"] | keys["val"])
    assert len(keys["test"]) == 428
    assert len(keys["train"] | keys["val"]) == 3669
