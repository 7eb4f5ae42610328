"""The audit, on small folders with one planted fault each, and on real images."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from pneumonia.config.schema import CLASSES, DataConfig, PhantomConfig, PreprocessConfig
from pneumonia.data.audit.checks import Finding
from pneumonia.data.audit.near_duplicates import near_pairs
from pneumonia.data.audit.report import AuditReport, audit, markdown
from pneumonia.data.manifest import Entry, Manifest
from pneumonia.data.packing import Packed, pack
from pneumonia.data.phantom import dataset
from pneumonia.imaging.image_statistics import COUNT
from tests.support.images import jpeg, picture

CONFIG = DataConfig(on_unreadable="skip")
PREPROCESS = PreprocessConfig(size=64)

NOT_ASKED = Finding(ok=True, stops=False, count=0, summary="not looked for", examples=[])


@pytest.fixture(autouse=True)
def _no_shortcuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the detector of shortcuts, which has a file of its own: small sets predict their class by chance."""
    monkeypatch.setattr("pneumonia.data.audit.report.detect_shortcuts", lambda *_, **__: NOT_ASKED)


@pytest.fixture(scope="module")
def sound_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dataset.generate(tmp_path_factory.mktemp("sound"), PhantomConfig(train=40, test=12, size=96))


@pytest.fixture
def root(sound_folder: Path, tmp_path: Path) -> Path:
    """A copy of a folder without faults, to plant one in."""
    return Path(shutil.copytree(sound_folder, tmp_path / "chest_xray"))


def examine(root: Path, preprocess: PreprocessConfig = PREPROCESS) -> AuditReport:
    return audit(pack(root, CONFIG, preprocess, root.parent / "work"), CONFIG)


def ill(root: Path, folder: str = "train", at: int = 0) -> Path:
    return sorted((root / folder / "PNEUMONIA").iterdir())[at]


def well(root: Path, folder: str = "train", at: int = 0) -> Path:
    return sorted((root / folder / "NORMAL").iterdir())[at]


def faults(report: AuditReport) -> set[str]:
    return {name for name, finding in report.findings.items() if not finding.ok}


def test_a_sound_folder_has_no_finding(root: Path) -> None:
    report = examine(root)
    assert report.ok
    assert report.leaks == report.warnings == []
    assert report.counts.count == 52
    rows = {(row["part"], row["class"]): row["images"] for row in report.counts.examples}
    assert rows["folder train", "NORMAL"] == 20
    assert rows["folder test", "PNEUMONIA"] == 6
    assert sum(images for (part, _), images in rows.items() if part.startswith("split")) == 52


def test_unreadable_files_are_told_with_reason_and_remedy(root: Path) -> None:
    ill(root).write_bytes(ill(root).read_bytes()[:900])
    well(root).write_bytes(b"")
    report = examine(root)
    assert faults(report) == {"unreadable"}
    assert report.ok
    assert report.unreadable.count == 2
    assert {Path(row["file"]).name for row in report.unreadable.examples} == {ill(root).name, well(root).name}
    assert all(row["reason"] and row["remedy"] for row in report.unreadable.examples)


def test_a_file_named_like_the_other_class_is_told(root: Path) -> None:
    ill(root).rename(root / "train" / "NORMAL" / "person777_virus_1.jpeg")
    well(root).rename(root / "train" / "PNEUMONIA" / "NORMAL2-IM-0777-0001.jpeg")
    report = examine(root)
    assert "wrong_folder" in report.warnings
    assert report.ok
    assert [(row["file"], row["class"], row["named as"]) for row in report.wrong_folder.examples] == [
        ("train/NORMAL/person777_virus_1.jpeg", "NORMAL", "PNEUMONIA"),
        ("train/PNEUMONIA/NORMAL2-IM-0777-0001.jpeg", "PNEUMONIA", "NORMAL"),
    ]


def test_a_copy_in_the_same_split_is_told(root: Path) -> None:
    shutil.copy(ill(root, "test"), root / "test" / "PNEUMONIA" / "person901_virus_1.jpeg")
    report = examine(root)
    assert faults(report) == {"duplicate_files", "near_duplicates"}
    assert report.ok
    assert report.duplicate_files.count == report.near_duplicates.count == 1
    assert "1 of them copies of one file" in report.duplicate_files.summary
    assert report.near_duplicates.examples[0]["correlation"] == 1


def test_the_same_pixels_in_another_file_are_a_duplicate(root: Path) -> None:
    with Image.open(well(root)) as image:
        image.save(root / "train" / "NORMAL" / "IM-0901-0001.png")
    report = examine(root, PreprocessConfig(size=96))
    assert report.duplicate_files.count == 1
    assert "0 of them copies of one file" in report.duplicate_files.summary


def test_one_file_in_both_classes_stops(root: Path) -> None:
    shutil.copy(ill(root, "test"), root / "test" / "NORMAL" / "IM-0901-0001.jpeg")
    report = examine(root)
    assert report.leaks == ["label_conflict"]
    assert not report.ok
    assert sorted(report.label_conflict.examples[0]["label"]) == sorted(CLASSES)
    assert report.label_conflict.examples[0]["same"] == "file"
    assert "1 in different classes" in report.near_duplicates.summary


def test_the_same_pixels_in_both_classes_stop(root: Path) -> None:
    with Image.open(well(root, "test")) as image:
        image.save(root / "test" / "PNEUMONIA" / "person901_virus_1.png")
    report = examine(root, PreprocessConfig(size=96))
    assert report.leaks == ["label_conflict"]
    assert report.label_conflict.examples[0]["same"] == "pixels"


def test_a_test_image_among_the_training_images_stops(root: Path) -> None:
    shutil.copy(ill(root, "test"), root / "train" / "PNEUMONIA" / "person901_virus_1.jpeg")
    report = examine(root)
    assert report.leaks == ["duplicate_across_splits", "near_duplicates_across_splits"]
    row = report.duplicate_across_splits.examples[0]
    assert row["files"][0].startswith("test/")
    assert row["files"][1] == "train/PNEUMONIA/person901_virus_1.jpeg"


@pytest.mark.parametrize("change", ["compressed", "darker", "equalised", "enlarged"])
def test_a_test_image_exposed_or_encoded_anew_among_the_training_images_stops(root: Path, change: str) -> None:
    with Image.open(well(root, "test")) as image:
        changed = {
            "compressed": lambda: image.copy(),
            "darker": lambda: image.point([round(255 * (grey / 255) ** 3) for grey in range(256)]),
            "equalised": lambda: ImageOps.equalize(image),
            "enlarged": lambda: image.resize((300, 250), Image.Resampling.BICUBIC),
        }[change]()
    changed.save(root / "train" / "NORMAL" / "IM-0901-0001.jpeg", quality=25 if change == "compressed" else 95)
    report = examine(root)
    assert report.leaks == ["near_duplicates_across_splits"]
    row = report.near_duplicates_across_splits.examples[0]
    assert set(row["splits"]) > {"test"}
    assert row["correlation"] >= CONFIG.near_duplicate_correlation


def test_a_patient_in_train_and_test_stops(root: Path) -> None:
    name = ill(root, "test").stem.rsplit("_", 1)[0]
    ill(root, at=-1).rename(root / "train" / "PNEUMONIA" / f"{name}_99999.jpeg")
    report = examine(root)
    assert report.leaks == ["patient_across_splits"]
    row = report.patient_across_splits.examples[0]
    assert "test" in row["splits"]
    assert len(row["files"]) == 2


def test_images_that_are_not_used_cannot_leak(root: Path) -> None:
    shutil.copy(ill(root, "test"), root / "train" / "PNEUMONIA" / "person901_virus_1.jpeg")
    packed = pack(root, CONFIG, PREPROCESS, root.parent / "work")
    entries = tuple(
        replace(entry, split="unused") if "person901" in entry.path else entry for entry in packed.manifest.entries
    )
    report = audit(replace(packed, manifest=Manifest(entries)), CONFIG)
    assert report.leaks == []
    assert report.duplicate_files.count == 1


def test_how_each_class_is_encoded_is_listed(root: Path) -> None:
    for path in (root / "train" / "PNEUMONIA").iterdir():
        with Image.open(path) as image:
            image.load()
        image.resize((150, 100)).save(path, quality=50)
    report = examine(root)
    rows = {(row["folder"], row["class"]): row for row in report.encodings.examples}
    assert rows["train", "PNEUMONIA"]["median width"] == 150
    assert rows["train", "PNEUMONIA"]["mean quantisation"] > 3 * rows["train", "NORMAL"]["mean quantisation"]


def test_images_without_quantisation_are_no_trouble(root: Path) -> None:
    for path in root.rglob("*.jpeg"):
        with Image.open(path) as image:
            image.save(path.with_suffix(".png"))
        path.unlink()
    report = examine(root)
    assert faults(report) == set()
    assert {row["mean quantisation"] for row in report.encodings.examples} == {None}


def test_examples_are_limited_and_counts_are_not(root: Path) -> None:
    for at in range(30):
        shutil.copy(ill(root, "test"), root / "test" / "PNEUMONIA" / f"person{901 + at}_virus_1.jpeg")
    report = examine(root)
    assert report.near_duplicates.count == 31 * 30 // 2
    assert len(report.near_duplicates.examples) == 20
    assert report.duplicate_files.count == 1


def test_the_report_is_one_json_document_and_a_readable_page(root: Path) -> None:
    shutil.copy(ill(root, "test"), root / "test" / "NORMAL" / "IM-0901-0001.jpeg")
    (root / "train" / "NORMAL" / "a|b.jpeg").write_bytes(jpeg(picture(5)))
    shutil.copy(root / "train" / "NORMAL" / "a|b.jpeg", root / "train" / "NORMAL" / "c.jpeg")
    report = examine(root)
    document = json.loads(report.model_dump_json())
    assert list(document) == list(AuditReport.model_fields)
    assert all(set(finding) == {"ok", "stops", "count", "summary", "examples"} for finding in document.values())
    assert AuditReport.model_validate(document) == report
    page = markdown(report)
    assert "| label conflict | **stops** | 1 |" in page
    assert "### Label conflict" in page
    assert "a\\|b.jpeg" in page
    tables = [block for block in page.split("\n\n") if block.startswith("|")]
    for table in tables:
        assert len({row.replace("\\|", "").count("|") for row in table.splitlines()}) == 1


@pytest.mark.parametrize("size", [32, 50, 224])
def test_a_pair_is_found_at_every_size_and_place(size: int) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (700, size, size), dtype=np.uint8)
    images[690] = images[3]
    images[650] = images[649]
    (pairs,) = near_pairs(images, 1.0)
    assert list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == [(3, 690), (649, 650)]
    assert (pairs.correlation <= 1).all()


def test_the_published_size_is_audited_in_seconds() -> None:
    """5,856 images at 224 px take 3 s; here as many small ones, so that the test stays small."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5856, 32, 32), dtype=np.uint8)
    entries = tuple(
        Entry(f"train/NORMAL/{i:05d}.jpeg", f"{i}", i % 2, f"{i // 2}", "train", "train", 9, 9, "png;L;8", f"{i}", 9)
        for i in range(len(images))
    )
    packed = Packed(
        manifest=Manifest(entries),
        pixels=images,
        features=np.zeros((len(images), COUNT), np.float32),
        path=Path("none"),
        unreadable=(),
        phantom=False,
    )
    start = time.process_time()
    assert audit(packed, CONFIG).near_duplicates.count == 0
    assert time.process_time() - start < 15


@pytest.mark.real
def test_real_originals_are_encoded_by_class_and_have_no_leak(shared: Path, tmp_path: Path) -> None:
    root = shared / "originals" / "chest_xray"
    report = audit(pack(root, CONFIG, PreprocessConfig(size=128), tmp_path), CONFIG)
    assert report.leaks == []
    assert report.near_duplicates.count == report.duplicate_files.count == 2
    rows = {(row["folder"], row["class"]): row["mean quantisation"] for row in report.encodings.examples}
    assert rows["train", "NORMAL"] < 6
    assert rows["test", "NORMAL"] > 25
    assert rows["train", "PNEUMONIA"] > 25


@pytest.mark.real
@pytest.mark.parametrize("equalize", [False, True])
def test_no_two_different_real_images_come_near_the_threshold(shared: Path, tmp_path: Path, equalize: bool) -> None:
    root = shared / "originals" / "chest_xray"
    packed = pack(root, CONFIG, PreprocessConfig(size=96, equalize=equalize), tmp_path)
    blocks = list(near_pairs(packed.pixels, 0.98))
    digests = [entry.pixels_sha256 for entry in packed.manifest.entries]
    assert blocks
    for pairs in blocks:
        assert all(digests[a] == digests[b] for a, b in zip(pairs.first, pairs.second, strict=True))


@pytest.mark.real
def test_the_complete_published_set_has_34_pairs_and_no_leak(tmp_path: Path) -> None:
    root = Path(__file__).parents[3] / "data" / "chest_xray"
    if not root.is_dir():
        pytest.skip("data/chest_xray is not there; dvc pull brings it")
    report = audit(pack(root, CONFIG, PreprocessConfig(size=96, equalize=True), tmp_path), CONFIG)
    if report.counts.count != 5856:
        pytest.skip("data/chest_xray is not the published set")
    assert report.leaks == []
    assert report.near_duplicates.count == 34
    assert report.duplicate_files.summary.startswith("30 groups of images (62 images)")
    assert report.wrong_folder.ok
