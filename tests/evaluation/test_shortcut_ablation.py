"""The controlled re-score sees what a network leans on, and nothing where it leans on nothing."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pneumonia.config.schema import Cue, EvaluateConfig, PreprocessConfig
from pneumonia.data.phantom.dataset import render
from pneumonia.data.phantom.planted_shortcuts import plant
from pneumonia.evaluation.shortcut_ablation import ABLATIONS, measure_dependence
from pneumonia.imaging.preprocessing import equalize

PLAIN = PreprocessConfig(size=64)
QUICK = EvaluateConfig(bootstrap=200, rescored=40)


class Reader(nn.Module):
    """Calls a film ill where a number read off it lies above a limit."""

    def __init__(self, read: object, limit: float, sharpness: float = 200) -> None:
        super().__init__()
        self.read, self.limit, self.sharpness = read, limit, sharpness

    def forward(self, films: Tensor) -> Tensor:
        grey = films[:, 0] * 0.229 + 0.485
        margin = (self.read(grey) - self.limit) * self.sharpness  # type: ignore[operator]
        return torch.stack([torch.zeros_like(margin), margin], dim=1)


# the brightest flat patch near the corner, wherever it lies there
CORNER = Reader(lambda grey: F.avg_pool2d(grey[:, None, :14, :14], 3, stride=1).amax(dim=(1, 2, 3)), 0.8, 40)
RIM = Reader(lambda grey: -grey[:, :2].mean(dim=(1, 2)), -0.07, 60)
LEVEL = Reader(lambda grey: -grey.mean(dim=(1, 2)), -0.41)


def films(cue: Cue, count: int = 60) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[str]]:
    """Healthy phantoms, every other one with the cue."""
    drawn = [render(0, np.random.default_rng([3, at]), 64) for at in range(count)]
    labels = np.arange(count) % 2
    planted = [plant(film, cue if label else "none", 90)[0] for film, label in zip(drawn, labels, strict=True)]
    return np.stack(planted), labels.astype(np.int64), [str(at // 3) for at in range(count)]


def falls(network: nn.Module, cue: Cue, preprocess: PreprocessConfig = PLAIN) -> dict[str, float]:
    pixels, labels, patients = films(cue)
    found = measure_dependence(network, pixels, labels, patients, preprocess, QUICK)
    for one in found.values():
        assert one.separation.low <= one.separation.value <= one.separation.high
        assert one.separation.value == pytest.approx(one.normal.value - one.pneumonia.value)
    return {name: one.separation.value for name, one in found.items()}


@pytest.mark.parametrize(("network", "cue"), [(CORNER, "mark"), (RIM, "border"), (LEVEL, "brightness")])
def test_what_the_network_reads_is_named(network: nn.Module, cue: Cue) -> None:
    found = falls(network, cue)
    assert found[cue] > 0.6
    assert max(value for name, value in found.items() if name != cue) < 0.4


def test_a_network_that_equalises_cannot_lean_on_the_grey_levels() -> None:
    pixels, labels, patients = films("brightness")
    seen = np.stack([equalize(film) for film in pixels])
    found = measure_dependence(LEVEL, seen, labels, patients, PreprocessConfig(size=64, equalize=True), QUICK)
    assert abs(found["brightness"].separation.value) < 0.05


def test_a_blind_network_leans_on_nothing() -> None:
    assert set(falls(Reader(lambda grey: grey[:, 0, 0] * 0, 0.0), "mark").values()) == {0.0}


def test_every_change_brings_films_that_differ_in_its_cue_together() -> None:
    """The same anatomy with and without the cue: what is left of the difference after the change is small."""
    drawn = np.stack([render(0, np.random.default_rng([4, at]), 96) for at in range(8)])
    for cue in ("border", "mark", "brightness"):
        planted = np.stack([plant(film, cue, 90)[0] for film in drawn])
        apart = np.abs(planted.astype(float) - drawn).mean()
        both = ABLATIONS[cue](np.concatenate([drawn, planted])).astype(float)
        assert np.abs(both[8:] - both[:8]).mean() < 0.1 * apart, cue


@pytest.mark.parametrize("cue", ABLATIONS)
def test_changes_keep_the_form_and_leave_what_they_are_given(cue: str) -> None:
    pixels, _, _ = films("none", 6)
    before = pixels.copy()
    changed = ABLATIONS[cue](pixels)
    assert (changed.shape, changed.dtype) == (pixels.shape, np.uint8)
    assert np.array_equal(pixels, before)
    assert not np.array_equal(changed, before)


def test_every_cue_that_can_be_planted_can_be_taken_out() -> None:
    assert set(get_args(Cue)) - {"none"} <= set(ABLATIONS)


def test_as_many_films_of_each_class_as_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, labels, patients = films("mark")
    seen: list[int] = []

    class Counter(Reader):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(len(images))
            return super().forward(images)

    counter = Counter(lambda grey: grey.mean(dim=(1, 2)), 0.5)
    measure_dependence(counter, pixels, labels, patients, PLAIN, EvaluateConfig(bootstrap=100, rescored=8))
    assert seen == [16] * (1 + len(ABLATIONS))
