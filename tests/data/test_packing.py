from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from pneumonia.config.schema import DataConfig, PreprocessConfig
from pneumonia.data import decoding, digests, packing
from pneumonia.data.audit.checks import identical_images
from pneumonia.data.audit.report import audit, markdown
from pneumonia.data.images import Images
from pneumonia.data.manifest import Manifest
from pneumonia.data.packing import pack
from pneumonia.errors import DataError
from pneumonia.imaging import radiograph
from pneumonia.imaging.radiograph import read
from pneumonia.imaging.refusal import PHANTOM_COMMENT
from tests.support.images import dicom, jpeg, picture, png, published

CONFIG = DataConfig(validation_fraction=0.3)
SMALL = PreprocessConfig(size=32)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return published(tmp_path / "set")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remember the digests of files that were written a moment ago."""
    monkeypatch.setattr(digests, "_SETTLED", 0)


def garble(file: Path) -> None:
    """Other content of the same size, so that whoever decodes the file again finds out."""
    status = file.stat()
    file.write_bytes(bytes(status.st_size))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def leftovers(work: Path) -> list[str]:
    return sorted(file.name for file in (work / "pixels").iterdir()) if (work / "pixels").exists() else []


@pytest.mark.parametrize("workers", [1, 4])
def test_rows_are_the_images_of_the_manifest(
    root: Path, work: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "POOL_FROM", 2)
    (root / "train" / "NORMAL" / "a.dcm").write_bytes(dicom(picture(90)))
    (root / "test" / "PNEUMONIA" / "b.png").write_bytes(png(picture(91)))
    steps: list[tuple[int, int]] = []
    packed = pack(root, CONFIG.model_copy(update={"workers": workers}), SMALL, work, lambda *step: steps.append(step))
    entries = packed.manifest.entries
    assert packed.pixels.shape == (20, 32, 32)
    assert packed.pixels.dtype == np.uint8
    assert steps == [(done, 20) for done in range(1, 21)]
    for entry, row in zip(entries, packed.pixels, strict=True):
        image = read(root / entry.path, SMALL)
        np.testing.assert_array_equal(row, image.pixels)
        assert entry.sha256 == hashlib.sha256((root / entry.path).read_bytes()).hexdigest()
        assert entry.pixels_sha256 == hashlib.sha256(image.pixels.tobytes()).hexdigest()
        assert (entry.width, entry.height, entry.encoding) == (120, 90, image.encoding)
        assert entry.label == ("PNEUMONIA" in entry.path)
        assert entry.folder == entry.path.split("/")[0]
    assert {entry.split for entry in entries} == {"train", "validation", "gate", "test"}
    assert not packed.phantom
    assert packed.unreadable == ()


def test_the_array_is_a_read_only_map(root: Path, work: Path) -> None:
    packed = pack(root, CONFIG, SMALL, work)
    assert isinstance(packed.pixels, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        packed.pixels[0, 0, 0] = 1
    np.testing.assert_array_equal(np.load(packed.path), packed.pixels)


def test_a_second_call_decodes_nothing(root: Path, work: Path) -> None:
    first = pack(root, CONFIG, SMALL, work)
    for file in root.rglob("*.jpeg"):
        file.touch()
    second = pack(root, CONFIG, SMALL, work, lambda *step: pytest.fail("decoded again"))
    assert second.manifest == first.manifest
    np.testing.assert_array_equal(second.pixels, first.pixels)
    other_split = pack(root, CONFIG.model_copy(update={"split_seed": 9}), SMALL, work)
    assert other_split.path == first.path
    assert other_split.manifest.digest == first.manifest.digest
    assert other_split.manifest.split_digest != first.manifest.split_digest


def test_a_second_call_reads_no_file_that_was_not_touched(
    root: Path, work: Path, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(root, CONFIG, SMALL, work)
    touched = next(root.rglob("*.jpeg"))
    touched.touch()
    read: list[Path] = []
    load = radiograph.load
    monkeypatch.setattr(radiograph, "load", lambda path: read.append(path) or load(path))
    pack(root, CONFIG, SMALL, work, lambda *step: pytest.fail("decoded again"))
    assert read == [touched]


def test_a_change_that_restores_size_and_times_is_noticed(root: Path, work: Path) -> None:
    pack(root, CONFIG, SMALL, work)
    garble(next(root.rglob("person*.jpeg")))
    with pytest.raises(DataError, match="not an image"):
        pack(root, CONFIG, SMALL, work)


def test_folders_of_equal_names_sizes_and_times_share_nothing(root: Path, work: Path, tmp_path: Path) -> None:
    other = published(tmp_path / "other" / "set")
    for seed, file in enumerate(sorted(root.rglob("*.jpeg"))):
        twin = other / file.relative_to(root)
        content = png(picture(200 + seed))  # the same length, whatever it shows
        for place, seed_of in ((file, seed), (twin, 200 + seed)):
            content = png(picture(seed_of), compress_level=0)
            place.write_bytes(content)
            os.utime(place, ns=(10**18, 10**18))
        assert file.stat().st_size == twin.stat().st_size
    first, second = pack(root, CONFIG, SMALL, work), pack(other, CONFIG, SMALL, work)
    assert first.path != second.path
    assert first.manifest.digest != second.manifest.digest
    for packed, place in ((first, root), (second, other)):
        np.testing.assert_array_equal(packed.pixels[0], read(place / packed.manifest.entries[0].path, SMALL).pixels)
    # the second under the first one's very name
    shutil.rmtree(root)
    other.rename(root)
    assert pack(root, CONFIG, SMALL, work).path == second.path


def test_equal_folders_share_an_array(root: Path, work: Path, tmp_path: Path) -> None:
    first = pack(root, CONFIG, SMALL, work)
    copy = shutil.copytree(root, tmp_path / "copy")
    assert pack(copy, CONFIG, SMALL, work, lambda *step: pytest.fail("decoded again")).path == first.path


def test_a_file_that_could_not_be_read_is_tried_again(root: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = next(root.rglob("person*.jpeg"))
    name = file.relative_to(root).as_posix()
    skip = CONFIG.model_copy(update={"on_unreadable": "skip"})
    load = radiograph.load

    def refuse(path: Path) -> bytes:  # for root, chmod takes nothing away
        if path == file:
            raise radiograph.UnreadableRadiograph(str(path), "may not be read", "grant read permission (chmod u+r)")
        return load(path)

    with monkeypatch.context() as patch:
        patch.setattr(radiograph, "load", refuse)
        for _ in range(2):
            assert [item["file"] for item in pack(root, skip, SMALL, work).unreadable] == [name]
    packed = pack(root, skip, SMALL, work)
    assert packed.unreadable == ()
    assert name in {entry.path for entry in packed.manifest.entries}


def test_a_file_that_changes_while_it_is_read_is_named(root: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = sorted(root.rglob("person*.jpeg"))[-1]
    digest_files = packing.digest_files

    def then_change(*given: object) -> object:
        found = digest_files(*given)
        file.write_bytes(jpeg(picture(77)))
        return found

    monkeypatch.setattr(packing, "digest_files", then_change)
    with pytest.raises(DataError, match=rf"{file.name}: changed while it was read; run again"):
        pack(root, CONFIG, SMALL, work)
    assert leftovers(work) == []


@pytest.mark.parametrize("folder", ["pixels", "digests"])
def test_a_removed_folder_is_made_again(root: Path, work: Path, folder: str, settled: None) -> None:
    first = pack(root, CONFIG, SMALL, work)
    shutil.rmtree(work / folder)
    again = pack(root, CONFIG, SMALL, work)
    assert again.manifest == first.manifest
    np.testing.assert_array_equal(packing.open_pixels(again.path), packing.open_pixels(first.path))


@pytest.mark.parametrize("damage", ["removed", "emptied"])
def test_an_array_that_is_gone_is_named_with_the_remedy(root: Path, work: Path, damage: str) -> None:
    path = pack(root, CONFIG, SMALL, work).path
    path.unlink() if damage == "removed" else path.write_bytes(b"")
    with pytest.raises(DataError, match=r"the decoded images cannot be opened .* run the pipeline again from prepare"):
        packing.open_pixels(path)


@pytest.mark.parametrize("table", ["", "[]", '{"format": 1, "files": {"a": 3}}', '{"format": 0, "files": {}}'])
def test_a_damaged_table_of_digests_is_made_anew(root: Path, work: Path, table: str, settled: None) -> None:
    first = pack(root, CONFIG, SMALL, work)
    (file,) = (work / "digests").iterdir()
    file.write_text(table)
    assert pack(root, CONFIG, SMALL, work).path == first.path


def test_names_of_any_bytes_are_packed_and_their_tables_read_again(root: Path, work: Path) -> None:
    names = [
        b"R\xf6ntgen.jpeg",
        b"two\nlines.jpeg",
        b"return\rhere.jpeg",
        b"a,\"b'.jpeg",
        "\U0001f468\u200d\u2695.png".encode(),
    ]
    for seed, name in enumerate(names):
        (root / "train" / "NORMAL" / os.fsdecode(name)).write_bytes(jpeg(picture(60 + seed)))
    (root / "test" / "NORMAL" / os.fsdecode(b"schlecht\xfc.jpeg")).write_bytes(b"")
    with pytest.raises(DataError, match=r"test/NORMAL/schlecht\\xfc\.jpeg: is empty"):
        pack(root, CONFIG, SMALL, work)
    skip = CONFIG.model_copy(update={"on_unreadable": "skip"})
    for _ in range(2):
        packed = pack(root, skip, SMALL, work)
        assert len(packed.manifest.entries) == 18 + len(names)
        assert [item["file"] for item in packed.unreadable] == ["test/NORMAL/schlecht\\xfc.jpeg"]
        report = audit(packed, skip)
        json.loads(report.model_dump_json())
        markdown(report).encode("utf-8")
    packed.manifest.save(work / "manifest.csv")
    assert Manifest.load(work / "manifest.csv") == packed.manifest
    (work / "manifest.csv").read_text(encoding="utf-8")


def test_a_change_decodes_again(root: Path, work: Path) -> None:
    first = pack(root, CONFIG, SMALL, work)
    paths = {first.path, pack(root, CONFIG, PreprocessConfig(size=32, equalize=True), work).path}
    file = next(root.rglob("person*.jpeg"))
    file.write_bytes(jpeg(picture(99)))
    changed = pack(root, CONFIG, SMALL, work)
    assert changed.manifest.digest != first.manifest.digest
    file.unlink()
    fewer = pack(root, CONFIG, SMALL, work)
    assert len(fewer.manifest.entries) == len(first.manifest.entries) - 1
    assert len(paths | {changed.path, fewer.path}) == 4


def test_a_change_that_keeps_the_size_is_noticed(root: Path, work: Path) -> None:
    pack(root, CONFIG, SMALL, work)
    file = next(root.rglob("person*.jpeg"))
    garble(file)
    os.utime(file)
    with pytest.raises(DataError, match="not an image"):
        pack(root, CONFIG, SMALL, work)


def test_another_decoder_decodes_again(root: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was refused for a missing extra is read once it is installed."""
    before = pack(root, CONFIG, SMALL, work)
    versions = radiograph.library_versions()
    assert [version.split()[0] for version in versions[:2]] == ["pillow", "pydicom"]
    monkeypatch.setattr(radiograph, "library_versions", lambda: (*versions[:2], "imagecodecs 9999"))
    after = pack(root, CONFIG, SMALL, work)
    assert after.path != before.path
    np.testing.assert_array_equal(after.pixels, before.pixels)


def test_what_images_leave_open_is_logged_and_recorded(
    root: Path, work: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stray = picture(90).astype(np.uint16) * 16
    stray[4, 4] = 65_535
    (root / "train" / "NORMAL" / "a.dcm").write_bytes(dicom(stray))
    packed = pack(root, CONFIG, SMALL, work)
    assert "1 image(s) leave open how they are to be shown; train/NORMAL/a.dcm: it names no range" in caplog.text
    record = json.loads(packed.path.with_suffix(".json").read_text())
    assert list(record["notes"]) == ["train/NORMAL/a.dcm"]


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".json"])
@pytest.mark.parametrize("damage", ["removed", "cut", "emptied"])
def test_a_damaged_packing_is_made_anew(root: Path, work: Path, suffix: str, damage: str) -> None:
    first = pack(root, CONFIG, SMALL, work)
    expected = np.array(first.pixels)
    file = first.path.with_suffix(suffix)
    content = file.read_bytes()
    file.unlink()
    if damage != "removed":
        file.write_bytes(content[:-20] if damage == "cut" else b"")
    again = pack(root, CONFIG, SMALL, work)
    assert again.manifest == first.manifest
    np.testing.assert_array_equal(again.pixels, expected)


def test_moved_folders_keep_their_digest(root: Path, work: Path, tmp_path: Path) -> None:
    first = pack(root, CONFIG, SMALL, work).manifest
    outer = tmp_path / "outer"
    outer.mkdir()
    root.rename(outer / "chest_xray")
    moved = pack(outer, CONFIG, SMALL, tmp_path / "other work").manifest
    assert (moved.digest, moved.split_digest) == (first.digest, first.split_digest)


def test_phantoms_are_told(root: Path, work: Path) -> None:
    (root / "test" / "NORMAL" / "x.jpeg").write_bytes(jpeg(picture(50), comment=PHANTOM_COMMENT))
    assert pack(root, CONFIG, SMALL, work).phantom
    assert pack(root, CONFIG, SMALL, work).phantom


# --- what is refused -------------------------------------------------------------------------------------------


def test_unreadable_images_are_listed_all_at_once(root: Path, work: Path) -> None:
    bad = {
        "train/NORMAL/empty.jpeg": b"",
        "test/NORMAL/text.png": b"none",
        "val/PNEUMONIA/cut.jpeg": jpeg(picture())[:900],
    }
    for name, content in bad.items():
        (root / name).write_bytes(content)
    (root / "train" / "NORMAL" / "gone.dcm").symlink_to(root / "nothing")
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            pack(root, CONFIG, SMALL, work)
        message = str(caught.value)
        assert f"{root}: 4 of 22 images cannot be used" in message
        for name in (*bad, "train/NORMAL/gone.dcm"):
            assert message.count(name) == 1
        assert "zero bytes" in message
        assert "does not exist" in message
        assert "--on-unreadable skip" in message
    assert leftovers(work) == []


def test_a_long_list_ends_in_a_count(root: Path, work: Path) -> None:
    for number in range(27):
        (root / "train" / "NORMAL" / f"bad-{number:02d}.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        pack(root, CONFIG, SMALL, work)
    assert str(caught.value).count("bad-") == 20
    assert "and 7 more" in str(caught.value)


def test_unreadable_images_are_left_out_and_recorded(root: Path, work: Path) -> None:
    whole = pack(root, CONFIG, SMALL, work)
    (root / "train" / "NORMAL" / "bad.jpeg").write_bytes(b"")
    skip = CONFIG.model_copy(update={"on_unreadable": "skip"})
    for _ in range(2):
        packed = pack(root, skip, SMALL, work)
        assert [item["file"] for item in packed.unreadable] == ["train/NORMAL/bad.jpeg"]
        assert set(packed.unreadable[0]) == {"file", "reason", "remedy"}
        assert packed.manifest == whole.manifest
        np.testing.assert_array_equal(packed.pixels, whole.pixels)
    with pytest.raises(DataError, match="zero bytes"):  # also where the images that can be read are packed already
        pack(root, CONFIG, SMALL, work)


def test_leaving_out_must_leave_some(root: Path, work: Path) -> None:
    for file in (root / "test" / "NORMAL").iterdir():
        file.write_bytes(b"")
    with pytest.raises(DataError, match="test/NORMAL holds no image that can be used"):
        pack(root, CONFIG.model_copy(update={"on_unreadable": "skip"}), SMALL, work)
    assert leftovers(work) == []


def test_the_layout_is_checked_first(root: Path, work: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        pack(root / "absent", CONFIG, SMALL, work)
    assert not work.exists()


def test_a_work_folder_that_cannot_be_written_is_named(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"file/pixels/.*: cannot be written \(.*\); free space or grant rights"):
        pack(root, CONFIG, SMALL, tmp_path / "file")


def test_a_full_disk_leaves_nothing_behind(root: Path, work: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))  # the 20 images take 18 KB
    try:
        with pytest.raises(DataError, match="cannot be written"):
            pack(root, CONFIG, SMALL, work)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert leftovers(work) == []
    assert len(pack(root, CONFIG, SMALL, work).manifest.entries) == 18


def test_an_interruption_leaves_nothing_behind_and_passes(
    root: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "POOL_FROM", 2)

    def interrupt(done: int, total: int) -> None:
        if done == 5:
            raise ConnectionError("the orchestrator is gone")

    before = threading.active_count()
    with pytest.raises(ConnectionError):  # an OSError, but not one of the disk
        pack(root, CONFIG.model_copy(update={"workers": 2}), SMALL, work, interrupt)
    assert leftovers(work) == []
    assert threading.active_count() == before


KILLED = """
import os, signal, sys
from pathlib import Path
from pneumonia.config.schema import DataConfig, PreprocessConfig
from pneumonia.data.packing import pack
def kill(done, total, message=""):
    if done == 5:
        os.kill(os.getpid(), signal.SIGKILL)
pack(Path(sys.argv[1]), DataConfig(), PreprocessConfig(size=32), Path(sys.argv[2]), kill)
"""


@pytest.mark.integration
def test_a_killed_packing_is_done_anew_and_swept_away(root: Path, work: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(root), str(work)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [Path(name).suffix for name in leftovers(work)] == [".part"]
    packed = pack(root, CONFIG, SMALL, work)
    assert len(packed.manifest.entries) == 18
    assert sorted(Path(name).suffix for name in leftovers(work)) == [".csv", ".json", ".npy", ".npy"]


def test_packings_at_the_same_time_do_not_disturb_one_another(root: Path, work: Path) -> None:
    digests: list[str] = []
    threads = [
        threading.Thread(target=lambda: digests.append(pack(root, CONFIG, SMALL, work).manifest.split_digest))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(digests) == 4
    assert len(set(digests)) == 1


# --- real radiographs ------------------------------------------------------------------------------------------


@pytest.mark.real
def test_the_complete_published_set(shared: Path, tmp_path: Path) -> None:
    files = shared / "dvc-remote" / "files" / "md5"
    listing = next(files.rglob("*.dir"))
    for item in json.loads(listing.read_text()):
        link = tmp_path / "data" / item["relpath"]
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(files / item["md5"][:2] / item["md5"][2:])
    packed = pack(tmp_path / "data", DataConfig(), PreprocessConfig(size=32), tmp_path / "work")
    manifest: Manifest = packed.manifest
    assert packed.pixels.shape == (5856, 32, 32)
    assert len(manifest.indices("test")) == 624
    assert np.bincount(manifest.labels).tolist() == [1583, 4273]
    assert {entry.width for entry in manifest.entries} == {224}
    keys = {
        split: {manifest.patients[row] for row in manifest.indices(split)}
        for split in ("train", "validation", "gate", "test")
    }
    assert sum(map(len, keys.values())) == len(set().union(*keys.values())), "no patient is in two splits"
    assert 0.08 < len(keys["gate"]) / 3669 < 0.12
    assert 0.13 < len(keys["validation"]) / 3669 < 0.17
    assert not packed.phantom
    assert {entry.patient_source for entry in manifest.entries} == {"name"}
    assert manifest.digest.startswith("17e783d3534d4f64")
    assert manifest.split_digest.startswith("bc19b82ebfbf3946")
    copies = identical_images(manifest.entries)
    assert (len(copies), sum(map(len, copies))) == (30, 62)
    test = Images.of(packed.pixels, manifest, "test")
    assert (len(test), int(test.copies.sum())) == (624, 6)
    # every other group is of one patient, so that joining patients has moved no image to another split
    joined = [(patient, group) for patient, group in zip(manifest.patients, manifest.groups, strict=True)]
    assert {pair for pair in joined if pair[0] != pair[1]} == {("NORMAL2-IM-0096", "NORMAL2-IM-0095")}
