"""A pipeline whose files have any name, whose folders are removed between two runs, and that is called elsewhere."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from pneumonia.config.schema import Config
from pneumonia.data.manifest import Manifest
from pneumonia.errors import ConfigError, DataError
from pneumonia.records.steps import Dataset
from pneumonia.tracking.client import mlflow_client
from tasks.prepare_data import prepare_data
from tasks.train_model import train_model
from tests.support.images import picture, png, published
from tests.support.recorded import record
from tests.support.small import small
from tests.support.steps import run
from tests.tasks.conftest import Finished

NAMES = [b"R\xf6ntgen.jpeg", b"two\nlines.jpeg", b"return\r.jpeg", b"a,\"b'|c.jpeg", "\U0001fa7b.jpeg".encode()]


@pytest.fixture
def odd(phantoms: Path, tmp_path: Path) -> Path:
    """Phantoms, some of them with names that not every program takes."""
    root = Path(shutil.copytree(phantoms, tmp_path / "set" / "chest_xray"))
    for folder in ("train/NORMAL", "test/PNEUMONIA"):
        for file, name in zip(sorted((root / folder).glob("*.jpeg")), NAMES, strict=False):
            file.rename(root / folder / os.fsdecode(name))
    return root


def test_any_name_of_a_file_goes_through_the_whole_pipeline(odd: Path, work: Path) -> None:
    (odd / "train" / "PNEUMONIA" / os.fsdecode(b"schlecht\xfc\n.jpeg")).touch()
    with pytest.raises(DataError, match=r"train/PNEUMONIA/schlecht\\xfc\\x0a\.jpeg: is empty"):
        prepare_data(small(work, f"data.root={odd}"))
    config = small(work, f"data.root={odd}", "data.on_unreadable=skip")
    dataset, trained, validation, promotion = run(config)
    assert promotion.promoted
    assert Dataset.model_validate_json(dataset.model_dump_json()) == dataset
    assert dataset.unreadable == (r"train/PNEUMONIA/schlecht\xfc\x0a.jpeg",)
    paths = [entry.path for entry in Manifest.load(Path(dataset.manifest)).entries]
    assert r"train/NORMAL/R\xf6ntgen.jpeg" in paths
    scores = Path(validation.report).with_name("scores.csv").read_text(encoding="utf-8")
    assert r"test/PNEUMONIA/R\xf6ntgen.jpeg" in scores
    artifacts = {item.path for item in mlflow_client(trained.tracking_uri).list_artifacts(trained.run_id, "report")}
    assert {"report/report.md", "report/scores.csv"} <= artifacts


def test_a_folder_whose_name_is_no_text_is_refused_before_anything_is_read(
    odd: Path, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / os.fsdecode(b"R\xf6ntgen")
    place.mkdir()
    odd.rename(place / "chest_xray")
    monkeypatch.chdir(place)
    with pytest.raises(ConfigError, match=r"data\.root: .*R\\xf6ntgen/chest_xray: the path has bytes that are no"):
        prepare_data(small(work, "data.root=chest_xray"))
    with pytest.raises(ConfigError, match=r"work: .*R\\xf6ntgen/w: the path has bytes that are no UTF-8"):
        prepare_data(small(Path("w")))
    assert not (place / "w").exists()


def test_a_damaged_image_is_never_of_the_recorded_version(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the size and the times of the recorded one, and decodes, as what a damaged remote delivers."""
    root = published(tmp_path / "data" / "set")
    image = next((root / "train" / "NORMAL").iterdir())
    for seed, file in ((1, image), (2, tmp_path / "other.png")):
        file.with_suffix(".png").write_bytes(png(picture(seed), compress_level=0))
    image.unlink()
    image, other = image.with_suffix(".png"), tmp_path / "other.png"
    recorded = record(tmp_path)
    monkeypatch.chdir(tmp_path)
    config = small(work, "data.root=data/set")
    good = prepare_data(config)
    assert good.dvc_md5 is not None
    assert good.dvc_md5 in recorded.read_text()
    content, status = image.read_bytes(), image.stat()
    assert len(content) == other.stat().st_size

    def replace(by: bytes) -> Dataset:
        image.write_bytes(by)
        os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))
        return prepare_data(config)

    damaged = replace(other.read_bytes())
    assert damaged.dvc_md5 is None
    assert damaged.pixels_digest != good.pixels_digest
    assert replace(content) == good


@pytest.mark.parametrize("removed", ["pixels", "digests", "audits", "phantoms"])
def test_what_is_removed_between_two_runs_is_made_again(
    finished: Finished, tmp_path: Path, removed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = finished.dataset
    work = Path(shutil.copytree(finished.config.work, tmp_path / "work"))
    shutil.rmtree(work / removed, ignore_errors=True)
    dataset = prepare_data(small(work))
    assert (dataset.digest, dataset.split_digest, dataset.pixels_digest) == (
        first.digest,
        first.split_digest,
        first.pixels_digest,
    )
    assert all(Path(path).exists() for path in (dataset.pixels, dataset.manifest, dataset.audit))


def test_a_training_that_was_removed_is_made_again(work: Path) -> None:
    config = small(work)
    _, first, _, _ = run(config)
    for name in ("training", "pixels", "audits"):
        shutil.rmtree(work / name)
    _, second, validation, promotion = run(config)
    assert (second.key, second.weights_digest) == (first.key, first.weights_digest)
    assert Path(second.weights).exists()
    assert Path(validation.report).exists()
    assert json.loads(promotion.model_dump_json())["name"] == "pneumonia-tiny-phantom"


def test_images_that_are_removed_between_two_steps_are_named_with_the_remedy(work: Path) -> None:
    config = small(work)
    dataset = prepare_data(config)
    shutil.rmtree(work / "pixels")
    with pytest.raises(DataError, match=r"cannot be opened .* run the pipeline again from prepare_data"):
        train_model(dataset, config)
    dataset = prepare_data(config)
    shutil.rmtree(work / "audits")
    with pytest.raises(DataError, match=r"the manifest cannot be read .* run the pipeline again from prepare_data"):
        train_model(dataset, config)


def test_the_same_command_from_another_folder_finds_the_finished_work(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def called(place: str, path: str) -> Config:
        (tmp_path / place).mkdir()
        monkeypatch.chdir(tmp_path / place)
        return small(Path(path))

    _, first, _, _ = run(called("one", "../work folder"))
    dataset, second, validation, _ = run(called("two", str(work)))
    assert second == first
    assert Path(dataset.pixels).is_absolute()
    assert Path(validation.report).is_absolute()
