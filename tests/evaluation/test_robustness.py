"""The changes of images: each grows with its strength, and is the same in every run."""

from __future__ import annotations

import numpy as np
import pytest

from pneumonia.config.schema import PreprocessConfig
from pneumonia.data.phantom.dataset import render
from pneumonia.evaluation import robustness
from pneumonia.evaluation.robustness import CHANGES, SIDE, STRENGTHS, Change
from tests.support.images import jpeg

PREPROCESS = PreprocessConfig(size=64)


@pytest.fixture(scope="module")
def image() -> robustness.Grey:
    content = jpeg(render(1, np.random.default_rng(0), 128)[:, :96])
    return robustness.grey_image(content)


def test_the_seven_changes_have_five_strengths_each() -> None:
    names = [change.name for change in CHANGES]
    assert names == ["noise", "blur", "contrast", "compression", "rotation", "crop", "downscaling"]
    assert all(len(change.amounts) == len(STRENGTHS) == 5 for change in CHANGES)
    assert CHANGES[0].amount(1) == "standard deviation 2% of full scale"
    assert CHANGES[4].amount(5) == "25 degrees to either side"


def test_an_image_keeps_its_shape_at_the_stated_side(image: robustness.Grey) -> None:
    assert image.shape == (SIDE, SIDE * 3 // 4)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_a_change_grows_with_its_strength(image: robustness.Grey, change: Change) -> None:
    plain = robustness.prepared(image, PREPROCESS).astype(float)
    far = []
    for amount in change.amounts:
        changed = change.apply(image, amount, np.random.default_rng(0))
        assert changed.dtype == np.uint8
        far.append(np.abs(robustness.prepared(changed, PREPROCESS) - plain).mean())
    assert far == sorted(far)
    assert 0 < far[0] < far[-1] / 1.5


def test_versions_begin_with_the_image_and_repeat(image: robustness.Grey) -> None:
    first, second = (list(robustness.versions(image, 0, 3)) for _ in range(2))
    assert first[0] is image
    assert len(first) == 1 + len(CHANGES) * len(STRENGTHS)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    other = list(robustness.versions(image, 0, 4))
    assert not np.array_equal(first[1], other[1]), "each image has noise of its own"


def test_images_are_drawn_by_class_without_copies() -> None:
    labels = [0] * 150 + [1] * 30
    copies = [False] * 179 + [True]
    chosen = robustness.choose(labels, copies, 0)
    assert (sum(labels[at] == 0 for at in chosen), sum(labels[at] for at in chosen)) == (100, 29)
    assert chosen == sorted(set(chosen)) == robustness.choose(labels, copies, 0)
    assert chosen != robustness.choose(labels, copies, 1)


def test_a_blank_image_is_scored_and_stops_nothing() -> None:
    blank = np.full((SIDE, SIDE), 7, np.uint8)
    equal = PREPROCESS.model_copy(update={"equalize": True})
    assert robustness.prepared(blank, equal).shape == (64, 64)
