"""The shortcut ablation measures what a network depends on, and nothing where it depends on nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pneumonia.config.schema import EvaluationConfig, PreprocessConfig, Shortcut
from pneumonia.data.images import Images
from pneumonia.data.phantom.dataset import render
from pneumonia.data.phantom.planted_shortcuts import plant
from pneumonia.evaluation.shortcut_ablation import ABLATIONS, measure_dependence
from pneumonia.imaging.preprocessing import equalize
from pneumonia.modelling.scoring import predict_probabilities

PLAIN = PreprocessConfig(size=64)
QUICK = EvaluationConfig(bootstrap=200, ablation_images_per_class=40)


class Reader(nn.Module):
    """Calls an image ill where a number read off it lies above a limit."""

    def __init__(self, read: object, limit: float, sharpness: float = 200) -> None:
        super().__init__()
        self.read, self.limit, self.sharpness = read, limit, sharpness

    def forward(self, images: Tensor) -> Tensor:
        margin = (self.read(images) - self.limit) * self.sharpness  # type: ignore[operator]
        return torch.stack([torch.zeros_like(margin), margin], dim=1)


# the brightest flat patch near the corner, wherever it lies there
CORNER = Reader(lambda grey: F.avg_pool2d(grey[:, None, :14, :14], 3, stride=1).amax(dim=(1, 2, 3)), 0.8, 40)
RIM = Reader(lambda grey: -grey[:, :2].mean(dim=(1, 2)), -0.07, 60)
LEVEL = Reader(lambda grey: -grey.mean(dim=(1, 2)), -0.41)


def make_images(feature: Shortcut, count: int = 60) -> Images:
    """Healthy phantoms, every other one with the feature."""
    drawn = [render(0, np.random.default_rng([3, at]), 64) for at in range(count)]
    labels = np.arange(count) % 2
    planted = [plant(image, feature if label else "none", 90)[0] for image, label in zip(drawn, labels, strict=True)]
    patients = [str(at // 3) for at in range(count)]
    return Images(np.stack(planted), np.arange(count), labels.astype(np.int64), patients)


def falls(network: nn.Module, feature: Shortcut, preprocess: PreprocessConfig = PLAIN) -> dict[str, float]:
    found = measure_dependence(network, make_images(feature), preprocess, QUICK)
    for one in found.values():
        assert one.separation.low <= one.separation.value <= one.separation.high
        assert one.separation.value == pytest.approx(one.normal.value - one.pneumonia.value)
    return {name: one.separation.value for name, one in found.items()}


@pytest.mark.parametrize(("network", "feature"), [(CORNER, "mark"), (RIM, "border"), (LEVEL, "brightness")])
def test_what_the_network_reads_is_named(network: nn.Module, feature: Shortcut) -> None:
    found = falls(network, feature)
    assert found[feature] > 0.6
    assert max(value for name, value in found.items() if name != feature) < 0.4


def test_a_network_that_equalises_cannot_depend_on_the_grey_levels() -> None:
    images = make_images("brightness")
    seen = replace(images, pixels=np.stack([equalize(image) for image in images.pixels]))
    found = measure_dependence(LEVEL, seen, PreprocessConfig(size=64, equalize=True), QUICK)
    assert abs(found["brightness"].separation.value) < 0.05


def test_a_blind_network_depends_on_nothing() -> None:
    assert set(falls(Reader(lambda grey: grey[:, 0, 0] * 0, 0.0), "mark").values()) == {0.0}


def test_every_change_brings_images_that_differ_in_its_feature_together() -> None:
    """The same anatomy with and without the feature: what is left of the difference after the change is small."""
    drawn = np.stack([render(0, np.random.default_rng([4, at]), 96) for at in range(8)])
    for feature in ("border", "mark", "brightness"):
        planted = np.stack([plant(image, feature, 90)[0] for image in drawn])
        apart = np.abs(planted.astype(float) - drawn).mean()
        both = ABLATIONS[feature](np.concatenate([drawn, planted])).astype(float)
        assert np.abs(both[8:] - both[:8]).mean() < 0.1 * apart, feature


@pytest.mark.parametrize("feature", ABLATIONS)
def test_changes_keep_the_form_and_leave_what_they_are_given(feature: str) -> None:
    pixels = make_images("none", 6).pixels
    before = pixels.copy()
    changed = ABLATIONS[feature](pixels)
    assert (changed.shape, changed.dtype) == (pixels.shape, np.uint8)
    assert np.array_equal(pixels, before)
    assert not np.array_equal(changed, before)


def test_every_feature_that_can_be_planted_can_be_taken_out() -> None:
    assert set(get_args(Shortcut)) - {"none"} <= set(ABLATIONS)


def test_as_many_images_of_each_class_as_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    class Counter(Reader):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(len(images))
            return super().forward(images)

    counter = Counter(lambda grey: grey.mean(dim=(1, 2)), 0.5)
    measure_dependence(
        counter, make_images("mark"), PLAIN, EvaluationConfig(bootstrap=100, ablation_images_per_class=8)
    )
    assert seen == [16] * (1 + len(ABLATIONS))


def test_known_scores_are_not_computed_again_and_give_the_same() -> None:
    seen: list[int] = []

    class Counter(Reader):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(len(images))
            return super().forward(images)

    counter, images = Counter(lambda grey: grey.mean(dim=(1, 2)), 0.41), make_images("mark")
    known = predict_probabilities(counter, images.pixels, images.rows)
    few = EvaluationConfig(bootstrap=100, ablation_images_per_class=8)
    computed = measure_dependence(counter, images, PLAIN, few)
    seen.clear()
    assert measure_dependence(counter, images, PLAIN, few, known=known) == computed
    assert seen == [16] * len(ABLATIONS)


def test_what_is_flat_stays_flat_without_brightness() -> None:
    """A black border is one grey level; sorted by rank its ties would become a gradient from top to bottom."""
    images = np.random.default_rng(0).integers(30, 256, (6, 32, 32), dtype=np.uint8)
    images[:3, :12] = 0
    images[3] = 0
    changed = ABLATIONS["brightness"](images)
    for border in (changed[0, :12], changed[1, :12], changed[3]):
        assert len(np.unique(border)) == 1
    assert changed[0, :12].max() <= changed[0, 12:].min(), "the order of the levels stays"
    for before, after in zip(images, changed, strict=True):
        pairs = {(int(old), int(new)) for old, new in zip(before.ravel(), after.ravel(), strict=True)}
        assert len(pairs) == len(np.unique(before)), "equal levels stay equal"
