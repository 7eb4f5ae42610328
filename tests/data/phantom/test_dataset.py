"""Phantoms: plausible, repeatable, and told apart by their lungs alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pneumonia.config.resolve import is_phantom
from pneumonia.config.schema import DataConfig, PhantomConfig, PreprocessConfig
from pneumonia.data import packing
from pneumonia.data.audit.report import audit
from pneumonia.data.audit.shortcut_detector import detect_shortcuts
from pneumonia.data.layout import scan
from pneumonia.data.phantom import anatomy, dataset
from pneumonia.errors import DataError
from pneumonia.imaging import radiograph

SMALL = PhantomConfig(train=36, test=12, size=64)
SIDE = 96


def auroc(values: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Share of pairs in which the ill film has the larger value."""
    ill, well = values[labels == 1][:, None], values[labels == 0]
    return float(np.mean((ill > well) + 0.5 * (ill == well)))


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.float64]]:
    """600 films [N, 96, 96], their labels and the sizes of their files in bytes."""
    root = dataset.generate(tmp_path_factory.mktemp("phantoms"), PhantomConfig(train=400, test=200, size=SIDE))
    found = scan(root)
    read = [radiograph.read(film.file, PreprocessConfig(size=SIDE)).pixels for film in found]
    labels = np.array([film.label for film in found])
    return np.stack(read), labels, np.array([film.size for film in found], dtype=float)


def test_nothing_but_the_lungs_tells_the_class(
    films: tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.float64]],
) -> None:
    images, labels, sizes = films
    flat = images.reshape(len(images), -1).astype(float)
    values = {"mean": flat.mean(axis=1), "spread": flat.std(axis=1), "bytes": sizes}
    values |= {f"percentile {share}": np.percentile(flat, share, axis=1) for share in (5, 25, 50, 75, 95)}
    for name, value in values.items():
        assert 0.4 < auroc(value, labels) < 0.6, name


def test_the_lungs_do_tell_the_class() -> None:
    """The same patient in the same pose, with and without opacities: only the lungs differ, and they get brighter."""
    for seed in range(20):
        pair = []
        for opaque in (False, True):
            rng = np.random.default_rng(seed)
            body = anatomy.Anatomy.draw(rng)
            frame = anatomy._Frame.draw(body, rng, SIDE)
            lungs, abdomen = anatomy._lungs(body, frame, rng)
            air = lungs * (1 - 0.9 * anatomy._heart(body, frame))
            pair.append(air - (anatomy._infiltrate(body, frame, air, rng, SIDE) if opaque else 0))
            assert 0.1 < (air > 0.3).mean() < 0.6
            assert (abdomen * air).max() < 0.3
        well, ill = pair
        assert (ill <= well + 1e-6).all()
        assert 0.05 < 1 - ill.sum() / well.sum() < 0.9


def test_films_look_like_radiographs(
    films: tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.float64]],
) -> None:
    """Dark lungs on both sides of a bright spine, a bright abdomen; mean and spread as on the published films."""
    images = films[0].astype(float)
    average = images.mean(axis=0)
    middle = average[35:55]
    spine, right, left = middle[:, 44:52].mean(), middle[:, 20:30].mean(), middle[:, 68:78].mean()
    assert spine > right + 25
    assert spine > left + 25
    assert average[80:, 30:66].mean() > right + 25
    assert 100 < images.mean() < 140
    assert 45 < images.std(axis=(1, 2)).mean() < 70


def test_a_film_depends_on_seed_and_label_alone() -> None:
    first, again = (dataset.render(1, np.random.default_rng(5), 80) for _ in range(2))
    assert first.dtype == np.uint8
    assert first.shape == (80, 80)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - dataset.render(1, np.random.default_rng(6), 80)).mean() > 5
    assert (first != dataset.render(0, np.random.default_rng(5), 80)).any()


@pytest.mark.parametrize("size", [32, 47, 333])
def test_every_size_can_be_drawn(size: int) -> None:
    for label in (0, 1):
        film = dataset.render(label, np.random.default_rng(1), size)
        assert film.shape == (size, size)
        assert film.std() > 20


def test_a_folder_is_laid_out_and_named_like_the_published_set(tmp_path: Path) -> None:
    root = dataset.generate(tmp_path, SMALL)
    assert root == tmp_path / "chest_xray"
    films = scan(tmp_path)
    assert [(len(list((root / part).glob("*.jpeg")))) for part in ("train/NORMAL", "train/PNEUMONIA")] == [18, 18]
    assert [(len(list((root / part).glob("*.jpeg")))) for part in ("test/NORMAL", "test/PNEUMONIA")] == [6, 6]
    read = radiograph.read(films[0].file, PreprocessConfig(size=64))
    assert read.phantom
    assert read.encoding.startswith("jpeg;L")
    assert is_phantom(str(tmp_path))
    assert is_phantom(str(root))
    packed = packing.pack(tmp_path, DataConfig(), PreprocessConfig(size=64), tmp_path / "work")
    patients = packed.manifest.patients
    assert len(set(patients)) < len(patients) == 48
    report = audit(packed, DataConfig(), detect_shortcuts(packed.manifest, packed.cues, DataConfig()))
    assert not report.leaks
    assert not report.warnings


def test_an_odd_number_of_films_is_met_exactly(tmp_path: Path) -> None:
    root = dataset.generate(tmp_path, PhantomConfig(train=13, test=9, size=64))
    assert len(list((root / "train").rglob("*.jpeg"))) == 13
    assert len(list((root / "test").rglob("*.jpeg"))) == 9


def test_the_number_of_processes_changes_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = dataset.generate(tmp_path / "alone", SMALL)
    monkeypatch.setattr(dataset, "POOL_FROM", 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(dataset, "_CHUNK", 5)
    seen: list[tuple[int, int]] = []
    pooled = dataset.generate(tmp_path / "pooled", SMALL, lambda done, total: seen.append((done, total)))
    files = sorted(path.relative_to(alone) for path in alone.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(pooled) for path in pooled.rglob("*") if path.is_file())
    assert all((alone / path).read_bytes() == (pooled / path).read_bytes() for path in files)
    assert seen[0] == (0, 48)
    assert seen[-1] == (48, 48)
    assert len(seen) > 5


def test_a_complete_folder_is_left_alone_and_another_configuration_replaces_it(tmp_path: Path) -> None:
    root = dataset.generate(tmp_path, SMALL)
    one = min((root / "train" / "NORMAL").iterdir())
    before = one.stat()
    dataset.generate(tmp_path, SMALL)
    assert one.stat() == before
    content = one.read_bytes()
    dataset.generate(tmp_path, SMALL.model_copy(update={"seed": 1}))
    assert one.read_bytes() != content
    assert [path.name for path in tmp_path.iterdir()] == ["chest_xray"]


def test_a_folder_of_something_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "chest_xray").mkdir()
    (tmp_path / "chest_xray" / "film.jpeg").write_bytes(b"real")
    with pytest.raises(DataError, match=r"chest_xray: .*not a folder of phantoms.*move"):
        dataset.generate(tmp_path, SMALL)
    assert (tmp_path / "chest_xray" / "film.jpeg").read_bytes() == b"real"


def test_a_broken_drawing_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dataset.generate(tmp_path, SMALL, stop)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    leftover = tmp_path / ".chest_xray-killed"
    leftover.mkdir()
    (leftover / "half").write_bytes(b"half a film")
    dataset.generate(tmp_path, SMALL)
    assert not leftover.exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"file/below/chest_xray: .*folder that can be written"):
        dataset.generate(tmp_path / "file" / "below", SMALL)


def test_drawing_is_fast_enough() -> None:
    """150 films a second on two cores at 224 px; here a fifth of that on one, for busy machines."""
    dataset.render(1, np.random.default_rng(0), 224)
    start = time.process_time()
    for seed in range(20):
        dataset.render(seed % 2, np.random.default_rng(seed), 224)
    assert (time.process_time() - start) / 20 < 1 / 30


def test_the_module_saves_a_contact_sheet(tmp_path: Path) -> None:
    path = tmp_path / "images" / "sheet.png"
    command = [sys.executable, "-m", "pneumonia.data.phantom.dataset", "--sheet", str(path)]
    subprocess.run(command, check=True)
    assert path.stat().st_size < 300_000
    committed = Path(__file__).parents[2] / "docs" / "images" / "phantoms.png"
    with Image.open(path) as made, Image.open(committed) as shown:
        assert made.size == shown.size == (1200, 400)
        # not byte for byte: another processor may round differently
        assert np.abs(np.asarray(made, dtype=int) - np.asarray(shown, dtype=int)).mean() < 2
