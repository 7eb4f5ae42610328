"""Whose image it is: the sources in their order, the pseudonyms, and patients that share an image."""

from __future__ import annotations

import csv
import shutil
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumonia.config.schema import CLASSES, DataConfig, PreprocessConfig
from pneumonia.data.audit.checks import Finding, patient_sources
from pneumonia.data.audit.report import audit, markdown
from pneumonia.data.manifest import Entry
from pneumonia.data.packing import Packed, pack
from pneumonia.data.patient_key import FILE, Pseudonyms, read_or_create
from pneumonia.data.patients import identify, join_identical, patient_of_name
from pneumonia.errors import DataError
from tests.support.images import dicom, jpeg, picture, published

SMALL = PreprocessConfig(size=32)
SPLIT = DataConfig(validation_fraction=0.3)
BY_FOLDER = SPLIT.model_copy(update={"patients": "folder"})
SECRET = "Müller 4711"
NOT_ASKED = Finding(ok=True, stops=False, count=0, summary="not looked for", examples=[])


@pytest.fixture(autouse=True)
def _without_shortcuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the shortcut detector, which takes most of an audit's time and is tested by itself."""
    monkeypatch.setattr("pneumonia.data.audit.report.detect_shortcuts", lambda *_, **__: NOT_ASKED)


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("person7_bacteria_28", "bacteria-7"),
        ("person7_bacteria_29", "bacteria-7"),
        ("person7_virus_28", "virus-7"),
        ("person77_virus_28", "virus-77"),
        ("person1372_virus_2365_1", "virus-1372"),
        ("IM-0011-0001", "IM-0011"),
        ("IM-0011-0001-0002", "IM-0011"),
        ("IM-0110-0001", "IM-0110"),
        ("NORMAL2-IM-0027-0001", "NORMAL2-IM-0027"),
        ("NORMAL2-IM-0027-0001-0003", "NORMAL2-IM-0027"),
        ("IM-0027-0001", "IM-0027"),
        ("scan_004", None),
        ("person4", None),
        ("IM0001", None),
        ("1.2.840.10008", None),
    ],
)
def test_published_names_tell_the_patient_and_others_do_not(name: str, patient: str | None) -> None:
    assert patient_of_name(name) == patient
    for folder in CLASSES:
        path = f"train/{folder}/{name}.jpeg"
        found = identify(path)
        assert (found.key, found.source) == ((patient, "name") if patient else (path, "none"))


def test_the_first_source_that_knows_the_patient_is_used() -> None:
    path = "train/NORMAL/P7/IM-0011-0001.dcm"
    steps = [
        ({"table": {path: "id-t"}, "pseudonym": "id-d", "by_folder": True}, ("id-t", "table")),
        ({"pseudonym": "id-d", "by_folder": True}, ("id-d", "dicom")),
        ({"by_folder": True}, ("folder P7", "folder")),
        ({}, ("IM-0011", "name")),
    ]
    for given_, expected in steps:
        found = identify(path, **given_)  # type: ignore[arg-type]
        assert (found.key, found.source) == expected


def test_a_folder_is_a_patient_only_below_the_class_folder() -> None:
    for path, key in (
        ("train/NORMAL/P7/a.png", "folder P7"),
        ("test/PNEUMONIA/P7/study/b.png", "folder P7"),
        ("NORMAL/P8/a.png", "folder P8"),
        ("train/NORMAL/a.png", "train/NORMAL/a.png"),
    ):
        assert identify(path, by_folder=True).key == key


# --- in a packed set -------------------------------------------------------------------------------------------


def hospital(root: Path, patient: str | None, suffix: str = ".dcm", each: int = 1) -> Path:
    """A set as a PACS exports it: numbered DICOM files, all of one patient, or (None) each of its own."""
    seed = 0
    for folder, count in (("train", 6), ("test", 3)):
        for label in CLASSES:
            (root / folder / label).mkdir(parents=True)
            for _ in range(count):
                seed += 1
                identifier = patient if patient is not None else f"P{(seed - 1) // each}"
                content = dicom(picture(seed), PatientID=identifier)
                (root / folder / label / f"1.2.840.{seed}{suffix}").write_bytes(content)
    return root


def plain(root: Path) -> Path:
    """A set of images whose names tell nothing, a folder for each patient, the image always of the same name."""
    seed = 0
    for folder, count in (("train", 6), ("test", 3)):
        for label in CLASSES:
            for _ in range(count):
                seed += 1
                place = root / folder / label / f"P{seed}"
                place.mkdir(parents=True)
                (place / "IM0001.jpeg").write_bytes(jpeg(picture(seed)))
    return root


def entry_of(path: str, *, by_folder: bool = False) -> Entry:
    who = identify(path, by_folder=by_folder)
    folder, label = path.split("/")[:2]
    return Entry(path, path, CLASSES.index(label), who.key, folder, folder, 1, 1, "PNG", path, 1, who.source)


def sources(packed: Packed) -> set[str]:
    return {entry.patient_source for entry in packed.manifest.entries}


def test_one_patient_id_in_train_and_test_is_a_leak(tmp_path: Path) -> None:
    root = hospital(tmp_path / "set", None)
    moved = dicom(picture(99), PatientID="P0")
    (root / "test" / "NORMAL" / "1.2.840.99.dcm").write_bytes(moved)
    packed = pack(root, SPLIT, SMALL, tmp_path / "work")
    report = audit(packed, SPLIT)
    assert sources(packed) == {"dicom"}
    assert report.leaks == ["patient_across_splits"]
    assert "test/NORMAL/1.2.840.99.dcm" in report.patient_across_splits.examples[0]["files"]


def test_a_set_of_one_patient_is_refused_as_a_leak(tmp_path: Path) -> None:
    root = hospital(tmp_path / "set", "ONE")
    with pytest.raises(DataError, match=r"1 patient\(s\) have images in train and in test, which is a leak"):
        pack(root, SPLIT, SMALL, tmp_path / "work")


def test_images_without_a_known_patient_are_a_warning_and_no_leak(tmp_path: Path) -> None:
    """All files are named IM0001, in train and test: that says nothing about the patient."""
    packed = pack(plain(tmp_path / "set"), SPLIT, SMALL, tmp_path / "work")
    report = audit(packed, SPLIT)
    assert report.leaks == []
    assert "patient_sources" in report.warnings
    assert report.patient_sources.count == 18
    assert "18 images have no known patient: each counts as one of its own" in report.patient_sources.summary
    assert report.patient_sources.examples == [{"source": "not known", "images": 18, "known patients": 0}]
    assert len(set(packed.manifest.patients)) == 18
    assert "### Patient sources" in markdown(report)


def test_a_folder_a_patient_is_used_where_it_is_asked_for(tmp_path: Path) -> None:
    root = plain(tmp_path / "set")
    shutil.copytree(root / "train" / "NORMAL" / "P1", root / "test" / "NORMAL" / "P1")
    (root / "test" / "NORMAL" / "P1" / "IM0001.jpeg").write_bytes(jpeg(picture(50)))
    packed = pack(root, BY_FOLDER, SMALL, tmp_path / "work")
    report = audit(packed, BY_FOLDER)
    assert sources(packed) == {"folder"}
    assert report.patient_sources.ok
    assert "patient_across_splits" in report.leaks
    assert report.patient_across_splits.examples[0]["patient"] == "folder P1"


def table(root: Path, patients: dict[str, str], header: tuple[str, str] = ("path", "patient")) -> None:
    with (root / "patients.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *patients.items()])


def paths(root: Path) -> list[str]:
    return sorted(file.relative_to(root).as_posix() for file in root.rglob("*") if file.suffix in (".jpeg", ".dcm"))


def test_a_table_comes_first_and_its_identifiers_are_stored_nowhere(tmp_path: Path) -> None:
    root, work = hospital(tmp_path / "set", "ONE"), tmp_path / "work"
    table(root, {path: f"{SECRET}-{at}" for at, path in enumerate(paths(root))})
    packed = pack(root, SPLIT, SMALL, work)
    assert sources(packed) == {"table"}
    assert len(set(packed.manifest.patients)) == 18
    packed.manifest.save(work / "manifest.csv")
    assert not any(SECRET.encode() in file.read_bytes() for file in work.rglob("*") if file.is_file())


def test_a_changed_table_changes_the_patients_and_decodes_nothing(tmp_path: Path) -> None:
    root, work = published(tmp_path / "set"), tmp_path / "work"
    before = pack(root, SPLIT, SMALL, work)
    table(root, {path: f"p{at}" for at, path in enumerate(paths(root))})
    after = pack(root, SPLIT, SMALL, work)
    assert (sources(before), sources(after)) == ({"name"}, {"table"})
    assert after.path == before.path


def test_every_image_must_be_in_the_table(tmp_path: Path) -> None:
    root = published(tmp_path / "set")
    listed = paths(root)
    table(root, dict.fromkeys(listed[2:], "p"))
    with pytest.raises(DataError) as caught:
        pack(root, SPLIT, SMALL, tmp_path / "work")
    text = str(caught.value)
    assert "patients.csv: 2 of 18 images are not listed" in text
    assert all(path in text for path in listed[:2])
    assert not any(path in text for path in listed[2:])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file;person\n", "line 1 must name the columns path and patient.*semicolons"),
        ("Path,Patient\na,b\n", "line 1 must name.*in other letters"),
        ("path\tpatient\na\tb\n", "line 1 must name.*tabs"),
        ("", "line 1 must name.*empty"),
        ("train/NORMAL/a.png,4711\n", "line 1 must name.*looks like a row"),
        ("file,person\n", "line 1 must name.*it has file, person"),
        ("path,patient\na,b\n".encode("utf-16"), "line 1 must name.*UTF-16"),
        ("path,patient\na.jpeg,\n", "line 2: path or patient is empty"),
        ("path,patient\na.jpeg\n", "line 2: path or patient is empty"),
        ("path,patient\na.jpeg,1\na.jpeg,2\n", "line 3: a.jpeg is listed with two patients"),
        ('path,patient\n"a.jpeg,1\n', "cannot be read as a table"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_its_line(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    root = published(tmp_path / "set")
    (root / "patients.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        pack(root, SPLIT, SMALL, tmp_path / "work")


def test_a_table_above_the_root_is_not_overlooked(tmp_path: Path) -> None:
    published(tmp_path / "outer" / "chest_xray")
    table(tmp_path / "outer", {"a": "b"})
    with pytest.raises(DataError, match="lies above the data's root; move it to"):
        pack(tmp_path / "outer", SPLIT, SMALL, tmp_path / "work")


@pytest.mark.parametrize("change", [lambda path: "./" + path, lambda path: path.replace("/", "\\"), str.upper])
def test_paths_in_another_notation_get_a_hint(tmp_path: Path, change: Callable[[str], str]) -> None:
    root = published(tmp_path / "set")
    table(root, {change(path): "p" for path in paths(root)})
    with pytest.raises(DataError, match=r"A row has .* write it as above"):
        pack(root, SPLIT, SMALL, tmp_path / "work")


def test_rows_without_an_image_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = published(tmp_path / "set")
    table(root, {path: f"p{at}" for at, path in enumerate([*paths(root), "train/NORMAL/absent.jpeg"])})
    pack(root, SPLIT, SMALL, tmp_path / "work")
    assert "1 rows name no image, and are not used (first: train/NORMAL/absent.jpeg)" in caplog.text


@pytest.mark.parametrize(
    "place", ["Patients.csv", "PATIENTS.CSV", "train/patients.csv", "test/patients.csv", "patients.xlsx", "patient.csv"]
)
def test_a_table_in_the_wrong_place_or_of_another_name_is_named(
    tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    root = plain(tmp_path / "set")
    (root / place).write_text("path,patient\n")
    found = audit(pack(root, SPLIT, SMALL, tmp_path / "work"), SPLIT).patient_sources
    assert not found.ok
    assert found.summary.startswith(f"{place}: not used; a table must be named patients.csv")
    assert "list the patients in patients.csv" not in found.summary
    assert f"{place}: not used" in caplog.text


def test_a_table_of_other_letters_above_the_root_is_not_overlooked(tmp_path: Path) -> None:
    published(tmp_path / "outer" / "chest_xray")
    (tmp_path / "outer" / "Patients.csv").touch()
    with pytest.raises(DataError, match=r"Patients\.csv: lies above the data's root; move it to .*patients\.csv"):
        pack(tmp_path / "outer", SPLIT, SMALL, tmp_path / "work")


@pytest.mark.parametrize("split", [True, False])
def test_names_that_folders_contradict_are_in_doubt(tmp_path: Path, split: bool) -> None:
    root = plain(tmp_path / "set")
    for number, file in enumerate(sorted(root.rglob("*.jpeg"))):
        name = f"IM-{number + 1:04d}-0001.jpeg" if split else "IM-0001-0001.jpeg"
        file.rename(file.with_name(name))
        if split:
            (file.parent / f"IM-{number + 500:04d}-0001.jpeg").write_bytes(jpeg(picture(200 + number)))
    paths_ = paths(root)
    found = patient_sources([entry_of(path) for path in paths_])
    assert not found.ok
    assert found.count == len(paths_)
    assert "data.patients=folder" in found.summary
    assert patient_sources([entry_of(path, by_folder=True) for path in paths_]).ok


def test_published_names_in_one_folder_or_in_agreeing_ones_are_in_no_doubt() -> None:
    for paths_ in (
        [f"train/NORMAL/IM-{n:04d}-0001.jpeg" for n in range(4)],
        [f"train/NORMAL/images/IM-{n:04d}-0001.jpeg" for n in range(4)],
        [f"train/NORMAL/P{n}/IM-{n:04d}-000{m}.jpeg" for n in range(4) for m in range(3)],
    ):
        assert patient_sources([entry_of(path) for path in paths_]).ok


def test_a_leak_comes_first_with_the_remedy_of_its_source(tmp_path: Path) -> None:
    with pytest.raises(DataError) as dicom_leak:
        pack(hospital(tmp_path / "a", "ONE"), SPLIT, SMALL, tmp_path / "work")
    assert str(dicom_leak.value).startswith("1 patient(s) have images in train and in test, which is a leak")
    assert "(known from: DICOM PatientID). If the files' PatientID names other people" in str(dicom_leak.value)
    root = hospital(tmp_path / "b", None)
    table(root, dict.fromkeys(paths(root), "one"))
    with pytest.raises(DataError) as table_leak:
        pack(root, SPLIT, SMALL, tmp_path / "work")
    assert "(known from: patients.csv). Correct the column patient of patients.csv" in str(table_leak.value)
    assert "list the patients" not in str(table_leak.value)


@pytest.mark.parametrize("suffix", ["", ".dcm", ".5"])
def test_dicom_is_found_by_its_content(tmp_path: Path, suffix: str) -> None:
    root = hospital(tmp_path / "set", None, suffix)
    (root / "DICOMDIR").write_bytes(dicom(picture(70)))
    (root / "train" / "NORMAL" / "DICOMDIR").write_bytes(dicom(picture(71)))
    (root / "train" / "NORMAL" / "README").write_text("no image")
    assert len(pack(root, SPLIT, SMALL, tmp_path / "work").manifest.entries) == 18


# --- pseudonyms ------------------------------------------------------------------------------------------------


def test_patient_ids_become_pseudonyms_of_one_key_for_the_owner_alone(tmp_path: Path) -> None:
    root, work = hospital(tmp_path / "set", None, each=3), tmp_path / "work"
    (root / "train" / "NORMAL" / "1.2.840.90.dcm").write_bytes(dicom(picture(90), PatientID=f" {SECRET} "))
    (root / "train" / "NORMAL" / "1.2.840.91.dcm").write_bytes(dicom(picture(91), PatientID=SECRET))
    packed = pack(root, SPLIT, SMALL, work)
    by_path = {entry.path: entry.patient for entry in packed.manifest.entries}
    assert by_path["train/NORMAL/1.2.840.90.dcm"] == by_path["train/NORMAL/1.2.840.91.dcm"]
    assert by_path["train/NORMAL/1.2.840.1.dcm"] == by_path["train/NORMAL/1.2.840.3.dcm"]
    assert by_path["train/NORMAL/1.2.840.1.dcm"] != by_path["train/NORMAL/1.2.840.4.dcm"]
    assert stat.S_IMODE((work / FILE).stat().st_mode) == 0o600
    assert len((work / FILE).read_bytes()) == 32
    written = b"".join(file.read_bytes() for file in work.rglob("*") if file.is_file() and file.suffix != ".npy")
    assert b"4711" not in written


def test_pseudonyms_hold_from_run_to_run_and_differ_from_site_to_site(tmp_path: Path) -> None:
    root = hospital(tmp_path / "set", None)
    first, again, elsewhere = (pack(root, SPLIT, SMALL, tmp_path / work) for work in ("a", "a", "b"))
    assert again.manifest.patients == first.manifest.patients
    assert not set(elsewhere.manifest.patients) & set(first.manifest.patients)


def test_a_set_without_identifiers_leaves_no_key(tmp_path: Path) -> None:
    pack(published(tmp_path / "set"), SPLIT, SMALL, tmp_path / "work")
    assert not (tmp_path / "work" / FILE).exists()


def test_images_packed_with_a_lost_key_are_decoded_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root, work = hospital(tmp_path / "set", None), tmp_path / "work"
    before = pack(root, SPLIT, SMALL, work)
    (work / FILE).unlink()
    after = pack(root, SPLIT, SMALL, work)
    assert "has patients of another key" in caplog.text
    assert not set(before.manifest.patients) & set(after.manifest.patients)


def test_a_damaged_key_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"short")
    with pytest.raises(DataError, match=r"is not a key of 32 bytes; restore it from the backup"):
        Pseudonyms(tmp_path).of("a")


def test_keys_created_at_the_same_time_are_one(tmp_path: Path) -> None:
    ready, found = threading.Barrier(8), []

    def create() -> None:
        ready.wait()
        found.append(read_or_create(tmp_path / "work" / FILE))

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


# --- patients that share an image ------------------------------------------------------------------------------


def test_patients_that_share_an_image_are_joined_through_others() -> None:
    patients = ["d", "c", "c", "b", "x", "a", "y"]
    contents = ["1", "1", "2", "2", "", "3", ""]
    assert join_identical(patients, contents) == ["b", "b", "b", "b", "x", "a", "y"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 12)), max_size=25))
def test_joined_patients_are_the_connected_ones(pairs: list[tuple[int, int]]) -> None:
    patients, contents = [f"p{a}" for a, _ in pairs], [str(b) if b else "" for _, b in pairs]
    groups = {patient: {patient} for patient in patients}
    for a, b in ((i, j) for i in range(len(pairs)) for j in range(i) if contents[i] and contents[i] == contents[j]):
        both = groups[patients[a]] | groups[patients[b]]
        for patient in both:
            groups[patient] = both
    assert join_identical(patients, contents) == [min(groups[patient]) for patient in patients]


def test_a_long_chain_of_patients_is_no_trouble() -> None:
    patients = [f"p{at // 2 + at % 2:06d}" for at in range(200_000)]
    contents = [str(at // 2) for at in range(200_000)]
    assert set(join_identical(patients, contents)) == {"p000000"}


@pytest.mark.parametrize("seed", range(4))
def test_a_copy_under_another_patients_name_lies_in_the_same_split(tmp_path: Path, seed: int) -> None:
    """Before, the copy fell into another split by chance, and the audit stopped the pipeline."""
    root, config = published(tmp_path / "set", patients=20), DataConfig(split_seed=seed, validation_fraction=0.5)
    originals = sorted((root / "train" / "PNEUMONIA").iterdir())[:8]
    for at, file in enumerate(originals):
        shutil.copy(file, file.with_name(f"person{900 + at}_virus_1.jpeg"))
    packed = pack(root, config, SMALL, tmp_path / "work")
    by_content: dict[str, set[Entry]] = {}
    for entry in packed.manifest.entries:
        by_content.setdefault(entry.sha256, set()).add(entry)
    copied = [entries for entries in by_content.values() if len(entries) > 1]
    assert len(copied) == 8
    assert all(len({entry.split for entry in entries}) == 1 for entries in copied)
    assert len({entry.split for entries in copied for entry in entries}) >= 2  # not all by moving them to one side
    report = audit(packed, config)
    assert report.duplicate_across_splits.ok
    assert report.duplicate_files.count == len(report.duplicate_files.examples) == 8
