"""The next data version: what enters its training folder, what is left out, and what a kill changes."""

from __future__ import annotations

import csv
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumonia.config.resolve import resolve
from pneumonia.config.schema import CLASSES, Config
from pneumonia.data import ingest as module
from pneumonia.data.audit.near_duplicates import near_any, near_pairs
from pneumonia.data.ingest import MIXED, Candidate, fill, ingest, pack_all
from pneumonia.data.layout import is_ingested
from pneumonia.data.patient_key import Pseudonyms
from pneumonia.data.patients import TABLE, patient_of_name
from pneumonia.errors import DataError
from pneumonia.imaging.refusal import PHANTOM_COMMENT
from tests.support.images import dicom, jpeg, picture, png, published

ANNE, BERT = f"id-{'a' * 16}", f"id-{'b' * 16}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return published(tmp_path / "set")


def config_of(tmp_path: Path, root: Path, *assignments: str) -> Config:
    given = [f"data.root={root}", f"work={tmp_path / 'work'}", "preprocess.size=64", *assignments]
    return resolve("fast", assignments=given, environment={})


def candidate(tmp_path: Path, content: bytes, label: int = 0, *patients: str, suffix: str = "jpeg") -> Candidate:
    digest = hashlib.sha256(content).hexdigest()
    file = tmp_path / "kept" / f"{digest}.{suffix}"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    return Candidate(file, digest, label, patients)


def contents(root: Path) -> dict[str, bytes]:
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def test_new_images_lie_under_the_training_folder_alone(tmp_path: Path, root: Path) -> None:
    before = contents(root)
    given = [
        candidate(tmp_path, jpeg(picture(101)), 0, ANNE),
        candidate(tmp_path, png(picture(102)), 1, suffix="png"),
        candidate(tmp_path, dicom(picture(103)), 1, BERT, suffix="dcm"),
    ]
    config = config_of(tmp_path, root)
    report = ingest(root, given, (), config)
    assert report.added == {"NORMAL": 1, "PNEUMONIA": 2}
    assert report.left_out == {}
    after = contents(root)
    assert {path: after[path] for path in before} == before
    assert set(after) - set(before) == {
        f"train/NORMAL/site_{ANNE}_{given[0].sha256[:16]}.jpeg",
        f"train/PNEUMONIA/site_{given[1].sha256[:16]}.png",
        f"train/PNEUMONIA/site_{BERT}_{given[2].sha256[:16]}.dcm",
    }
    assert all(is_ingested(path) for path in set(after) - set(before))
    who = {entry.path: (entry.patient, entry.patient_source) for entry in pack_all(root, config).manifest.entries}
    assert who[given[0].path] == (ANNE, "name")
    assert who[given[1].path] == (given[1].path, "none")
    assert patient_of_name(Path(given[2].path).stem) == BERT
    again = ingest(root, given, (), config)
    assert again.added == {"NORMAL": 0, "PNEUMONIA": 0}
    assert contents(root) == after


def test_a_patient_has_the_pseudonym_of_the_dicom_files(tmp_path: Path, root: Path) -> None:
    """A person whose DICOM file lies in the data set, and whose image comes from the service, is one patient."""
    config = config_of(tmp_path, root)
    (root / "train" / "NORMAL" / "new.dcm").write_bytes(dicom(picture(90), PatientID="P 7"))
    who = Pseudonyms(tmp_path / "work").of("P 7")
    ingest(root, [candidate(tmp_path, jpeg(picture(101)), 0, who)], (), config)
    found = {entry.path: entry for entry in pack_all(root, config).manifest.entries if entry.patient == who}
    assert sorted(Path(path).name.partition("_")[0] for path in found) == ["new.dcm", "site"]
    assert len({entry.split for entry in found.values()}) == 1


def test_patients_of_the_test_folder_stay_out(tmp_path: Path, root: Path) -> None:
    config = config_of(tmp_path, root)
    (root / "test" / "NORMAL" / "one.dcm").write_bytes(dicom(picture(90), PatientID="P 7"))
    who = Pseudonyms(tmp_path / "work").of("P 7")
    report = ingest(root, [candidate(tmp_path, jpeg(picture(101)), 0, ANNE, who)], (), config)
    assert report.left_out == {"patient of the test folder": 1}
    assert not [path for path in contents(root) if is_ingested(path)]


def test_duplicates_and_near_duplicates_stay_out(tmp_path: Path, root: Path) -> None:
    tested = next((root / "test" / "NORMAL").iterdir())
    brighter = (picture(101) * 0.8 + 20).astype(np.uint8)
    given = [
        candidate(tmp_path, tested.read_bytes()),  # the test folder's
        candidate(tmp_path, jpeg(np.asarray(Image.open(tested)) // 2 + 60)),  # the same, in another exposure
        candidate(tmp_path, png(picture(101)), suffix="png"),
        candidate(tmp_path, png(picture(101), compress_level=0), suffix="png"),  # equal pixels, another file
        candidate(tmp_path, jpeg(brighter)),
    ]
    report = ingest(root, given, (), config_of(tmp_path, root))
    assert report.added == {"NORMAL": 1, "PNEUMONIA": 0}
    assert report.left_out == {"duplicate": 2, "near-duplicate": 2}


def test_what_is_damaged_or_of_another_kind_stays_out(tmp_path: Path, root: Path) -> None:
    whole = candidate(tmp_path, png(picture(101)), suffix="png")
    given = [
        candidate(tmp_path, b"\xff\xd8\xff nothing"),
        Candidate(whole.file, "0" * 64, 0),  # the disk has changed it
        candidate(tmp_path, jpeg(picture(104), comment=PHANTOM_COMMENT)),
        Candidate(tmp_path / "gone.jpeg", "1" * 64, 0),
    ]
    assert ingest(root, given, (), config_of(tmp_path, root)).left_out == {
        "unreadable": 2,
        MIXED: 1,
        "no kept image": 1,
    }


def test_phantoms_take_phantoms(tmp_path: Path, phantoms: Path) -> None:
    root = fill(phantoms, tmp_path / "next")
    given = [
        candidate(tmp_path, jpeg(picture(1)), 1),
        candidate(tmp_path, jpeg(picture(2), comment=PHANTOM_COMMENT), 1),
    ]
    report = ingest(root, given, (), config_of(tmp_path, root, "registry.name=pneumonia-resnet18-phantom"))
    assert (report.added["PNEUMONIA"], report.left_out) == (1, {MIXED: 1})


def test_a_label_that_changes_moves_its_image_and_one_that_is_open_again_removes_it(tmp_path: Path, root: Path) -> None:
    config = config_of(tmp_path, root)
    one, two = (candidate(tmp_path, jpeg(picture(100 + at)), at, ANNE) for at in range(2))
    ingest(root, [one, two], (), config)
    moved = Candidate(one.file, one.sha256, 1)  # nobody knows the patient any more
    report = ingest(root, [moved], {two.sha256}, config)
    assert (report.relabelled, report.withdrawn) == ((one.path,), (two.path,))
    assert [path for path in contents(root) if is_ingested(path)] == [one.path.replace("NORMAL", "PNEUMONIA")]
    assert ingest(root, [moved], {two.sha256}, config).relabelled == ()


def listed(root: Path) -> dict[str, str]:
    with (root / TABLE).open(encoding="utf-8", newline="") as lines:
        return {row["path"]: row["patient"] for row in csv.DictReader(lines)}


def test_a_table_of_patients_gets_rows(tmp_path: Path, root: Path) -> None:
    paths = list(contents(root))
    rows = ["path,patient,ward", *(f"{path},Müller {at},W" for at, path in enumerate(sorted(paths)))]
    (root / TABLE).write_text("\n".join(rows) + "\n", encoding="utf-8-sig")
    config = config_of(tmp_path, root)
    given = [candidate(tmp_path, jpeg(picture(101)), 0, ANNE), candidate(tmp_path, jpeg(picture(102)), 1)]
    ingest(root, given, (), config)
    assert len(listed(root)) == len(paths) + 2
    assert listed(root)[given[0].path] == ANNE
    assert (root / TABLE).read_text(encoding="utf-8").splitlines()[0] == "path,patient,ward"
    who = {entry.path: entry.patient for entry in pack_all(root, config).manifest.entries}
    assert who[given[0].path] == ANNE  # it stays as it is
    assert all(patient.startswith("id-") for patient in who.values())
    before = (root / TABLE).read_bytes()
    ingest(root, given, (), config)
    assert (root / TABLE).read_bytes() == before
    ingest(root, [Candidate(given[0].file, given[0].sha256, 1)], {given[1].sha256}, config)
    assert set(listed(root)) == {*paths, given[0].path.replace("NORMAL", "PNEUMONIA")}
    assert listed(root)[given[0].path.replace("NORMAL", "PNEUMONIA")] == ANNE
    pack_all(root, config)


@pytest.mark.parametrize("table", [False, True])
@pytest.mark.parametrize("at", range(5))
def test_a_kill_in_the_middle_is_finished_by_the_next_run(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, at: int, table: bool
) -> None:
    """The writes are cut off after each one; killed processes leave the files that were complete."""
    if table:
        (root / TABLE).write_text("path,patient\n" + "".join(f"{path},P{path}\n" for path in sorted(contents(root))))
    undisturbed = Path(fill(root, tmp_path / "undisturbed"))
    config = config_of(tmp_path, root)
    given = [candidate(tmp_path, jpeg(picture(100 + each)), each % 2) for each in range(4)]
    given.append(candidate(tmp_path, jpeg(picture(100) // 2 + 50), 0))  # a near-duplicate of the first
    ingest(undisturbed, given, (), config)
    written = 0
    real = module.write_bytes

    def cut(path: Path, content: bytes) -> Path:
        nonlocal written
        if written == at:
            raise KeyboardInterrupt
        written += 1
        return real(path, content)

    monkeypatch.setattr(module, "write_bytes", cut)
    with pytest.raises(KeyboardInterrupt) if at < 4 + table else _nothing():
        ingest(root, given, (), config)
    monkeypatch.undo()
    ingest(root, given, (), config)
    assert contents(root) == contents(undisturbed)


@pytest.mark.integration
def test_a_killed_process_is_finished_by_the_next_run(tmp_path: Path, root: Path) -> None:
    given = [candidate(tmp_path, jpeg(picture(100 + each)), each % 2) for each in range(4)]
    undisturbed = fill(root, tmp_path / "undisturbed")
    config = config_of(tmp_path, root)
    ingest(undisturbed, given, (), config)
    program = """
import os, signal, sys
from pathlib import Path
from pneumonia import files
from pneumonia.data import ingest
from tests.data.test_ingest import Candidate, config_of

class Dying(files.AtomicFile):  # dies while its second file is half written
    files = 0
    def write(self, content, at=None):
        Dying.files += 1
        super().write(content[: len(content) // 2])
        if Dying.files == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        super().write(content[len(content) // 2 :])

folder, root = Path(sys.argv[1]), Path(sys.argv[2])
given = [Candidate(Path(file), Path(file).stem, int(label)) for file, label in zip(sys.argv[3::2], sys.argv[4::2])]
config = config_of(folder, root)
ingest.pack_all(root, config)  # packed before, so that it writes nothing
files.AtomicFile = Dying
ingest.ingest(root, given, (), config)
"""
    named = [word for each in given for word in (str(each.file), str(each.label))]
    command = [sys.executable, "-c", program, str(tmp_path), str(root), *named]
    killed = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len([path for path in contents(root) if path.endswith(".part")]) == 1
    assert len([path for path in contents(root) if is_ingested(path)]) == 1
    ingest(root, given, (), config)
    assert contents(root) == contents(undisturbed)


class _nothing:  # noqa: N801 — a context manager like those of the library
    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def test_a_name_that_is_no_pseudonym_adds_nothing(tmp_path: Path, root: Path) -> None:
    before = contents(root)
    with pytest.raises(DataError, match="no pseudonyms"):
        ingest(root, [candidate(tmp_path, jpeg(picture(101)), 0, "DOE^JANE")], (), config_of(tmp_path, root))
    assert contents(root) == before


def test_a_data_version_of_its_own_has_the_same_files(tmp_path: Path, root: Path) -> None:
    (root / TABLE).write_text("path,patient\n")
    target = tmp_path / "next" / "chest_xray"
    assert fill(root.parent, target) == target  # the folder above it does as well
    assert contents(target) == contents(root)
    assert (target / TABLE).stat().st_ino == (root / TABLE).stat().st_ino
    (target / "train" / "NORMAL" / "site_0.jpeg").write_bytes(jpeg(picture(9)))
    assert fill(root, target) == target
    assert "train/NORMAL/site_0.jpeg" in contents(target)
    assert "train/NORMAL/site_0.jpeg" not in contents(root)


def test_a_disk_without_hard_links_gets_copies(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    assert contents(fill(root, tmp_path / "next")) == contents(root)


def test_near_duplicates_between_sets_are_those_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    known = rng.integers(0, 255, (30, 64, 64), np.uint8)
    new = np.concatenate([known[:3] // 2 + 9, rng.integers(0, 255, (4, 64, 64), np.uint8)])
    new = np.concatenate([new, new[3:5]])
    assert near_any(new, known, 0.95).tolist() == [True, True, True, False, False, False, False, True, True]
    pairs = list(near_pairs(np.concatenate([known, new]), 0.95))
    assert sum(len(found.first) for found in pairs) == 5
    assert near_any(new[:0], known, 0.95).shape == (0,)


def test_labels_are_the_classes() -> None:
    assert Candidate(Path("x.png"), "f" * 64, CLASSES.index("PNEUMONIA")).path == f"train/PNEUMONIA/site_{'f' * 16}.png"


@pytest.mark.real
def test_real_images_enter_and_their_copies_do_not(shared: Path, tmp_path: Path) -> None:
    """Test images in another compression, exposure and size are recognised; an image of nobody there enters."""
    source = shared / "originals" / "chest_xray"
    config = config_of(tmp_path, source)
    root = fill(source, tmp_path / "next")
    given, originals = [], sorted((root / "test" / "NORMAL").iterdir())[:8]
    for at, file in enumerate(originals):
        image = Image.open(file).convert("L")
        small = image.resize((image.width * 2 // 3, image.height * 2 // 3), Image.Resampling.LANCZOS)
        changed = np.clip((np.asarray(small) / 255.0) ** (0.7 + at / 10) * 255, 0, 255).astype(np.uint8)
        given.append(candidate(tmp_path, jpeg(changed), 0))
    new = sorted((root / "train" / "PNEUMONIA").iterdir())[-1]
    given.append(candidate(tmp_path, new.read_bytes(), 1))
    new.unlink()  # so that it is new; the published set has copies, but this file's name is in none of them
    before = len(contents(root))
    began = time.perf_counter()
    report = ingest(root, given, (), config)
    assert time.perf_counter() - began < 120
    assert report.left_out == {"near-duplicate": 8}
    assert report.added == {"NORMAL": 0, "PNEUMONIA": 1}
    assert len(contents(root)) == before + 1
