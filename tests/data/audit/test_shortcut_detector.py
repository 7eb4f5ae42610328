"""The shortcut audit finds what is there, by name, and nothing that is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pneumonia.config.schema import DataConfig, PhantomConfig, PreprocessConfig, Shortcut
from pneumonia.data.audit import shortcut_detector, shortcut_features
from pneumonia.data.audit.shortcut_detector import DESCRIPTIONS, TOGETHER, detect_shortcuts
from pneumonia.data.packing import pack
from pneumonia.data.phantom import dataset
from pneumonia.imaging.image_statistics import COUNT

CONFIG = DataConfig()
PLANTED = [feature for feature in get_args(Shortcut) if feature != "none"]


def rows(root: Path, work: Path, **preprocess: Any) -> dict[str, dict[str, Any]]:
    packed = pack(root, CONFIG, PreprocessConfig.model_validate({"size": 96} | preprocess), work)
    finding = detect_shortcuts(packed.manifest, packed.features, CONFIG, test_folder=True)
    assert not finding.stops
    assert finding.ok == (not any(row["flagged"] for row in finding.examples if row["feature"] != TOGETHER))
    return {row["feature"]: row for row in finding.examples}


def flagged(found: dict[str, dict[str, Any]]) -> set[str]:
    return {feature for feature, row in found.items() if row["flagged"] and feature != TOGETHER}


def draw(folder: Path, feature: Shortcut) -> Path:
    """Draw phantoms in this process: the workers of a pool would load the libraries anew for each folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "POOL_FROM", 1_000)
        return _drawn(folder, feature)


def _drawn(folder: Path, feature: Shortcut) -> Path:
    return dataset.generate(folder / feature, PhantomConfig(train=200, test=60, size=224, shortcut=feature))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("plain"), "none")


def test_every_feature_has_its_words() -> None:
    assert set(DESCRIPTIONS) == {*shortcut_features.FEATURES, TOGETHER}
    assert set(PLANTED) <= set(shortcut_features.FEATURES)


@pytest.mark.parametrize("equalize", [False, True])
def test_nothing_is_found_where_nothing_is_planted(plain: Path, tmp_path: Path, equalize: bool) -> None:
    found = rows(plain, tmp_path, equalize=equalize)
    assert flagged(found) == set()
    assert not found[TOGETHER]["flagged"]


@pytest.mark.parametrize("feature", PLANTED)
def test_a_planted_feature_is_found_and_no_other(tmp_path: Path, feature: Shortcut) -> None:
    found = rows(draw(tmp_path, feature), tmp_path / "work", equalize=True)  # the equalised images no longer show it
    assert flagged(found) == {feature}
    assert found[feature]["low"] > 0.95
    assert found[feature]["test low"] > 0.9, "it was planted into the test folder, too"
    assert found[TOGETHER]["flagged"]


def test_a_feature_of_the_training_folder_alone_does_not_carry_over(plain: Path, tmp_path: Path) -> None:
    root = draw(tmp_path, "encoding")
    for path in (plain / "test").rglob("*.jpeg"):
        (root / "test" / path.parent.name / path.name).write_bytes(path.read_bytes())
    row = rows(root, tmp_path / "work")["encoding"]
    assert row["flagged"]
    assert row["test low"] < 0.5 < row["test high"]


def test_images_of_one_patient_are_never_on_both_sides(plain: Path, tmp_path: Path) -> None:
    """Copies of an image under other names of the same patient must not help."""
    packed = pack(plain, CONFIG, PreprocessConfig(size=96), tmp_path)
    rng = np.random.default_rng(0)
    _, patient = np.unique(np.array(packed.manifest.patients), return_inverse=True)
    noise = rng.standard_normal((patient.max() + 1, COUNT)).astype(np.float32)
    # each patient's own number, the same on all its images: a classifier that saw one of them would know the others
    finding = detect_shortcuts(packed.manifest, noise[patient], CONFIG)
    assert {row["feature"] for row in finding.examples if row["flagged"]} == set()


def test_the_limit_is_the_configurations(plain: Path, tmp_path: Path) -> None:
    packed = pack(plain, CONFIG, PreprocessConfig(size=96), tmp_path)
    pictures = packed.features.copy()
    # 0.9 standard deviations apart: AUROC about 0.74
    pictures[:, 0] = packed.manifest.labels * 0.9 + np.random.default_rng(1).standard_normal(len(pictures))
    assert detect_shortcuts(packed.manifest, pictures, CONFIG).count == 1
    assert detect_shortcuts(packed.manifest, pictures, DataConfig(shortcut_auroc=0.85)).ok


@pytest.mark.real
def test_the_originals_tell_their_class_by_encoding_size_and_grey_levels(shared: Path, tmp_path: Path) -> None:
    found = rows(shared / "originals" / "chest_xray", tmp_path)
    assert {"encoding", "size", "brightness"} <= flagged(found)
    assert "mark" not in flagged(found)
    assert found["encoding"]["low"] > 0.97
    assert found["encoding"]["test high"] < 0.5, "what was learned from the encoding misleads on the test folder"


def test_folds_are_ranked_before_they_are_pooled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each fold's classifier has an offset of its own, which says nothing about an image."""
    offsets = iter(np.linspace(0, 10, shortcut_detector.FOLDS))

    def fit(values: np.ndarray, labels: np.ndarray) -> Any:
        offset = next(offsets)
        return lambda images: images[:, 0] + offset

    monkeypatch.setattr(shortcut_detector, "_fit", fit)
    labels = np.arange(100) % 2
    values = labels[:, None] + np.random.default_rng(0).normal(0, 0.1, (100, 1))
    folds = shortcut_detector._folds(labels, [str(row) for row in range(100)])
    scores = shortcut_detector._cross_validated(values, labels, folds)
    assert roc_auc_score(labels, scores) > 0.99, "in every fold the classes are apart"
    assert 0 < scores.min() < scores.max() < 1
