"""The operating point: what it promises on changed films, and that it stays in the weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from pneumonia import model
from pneumonia.calibrate import apply_temperature, operating_point, perturbed_margins
from pneumonia.config import AugmentConfig, EvaluateConfig
from pneumonia.scoring import predict

NONE = AugmentConfig(flip=0, rotation=0, brightness=0, contrast=0)
SOME = AugmentConfig(flip=0.5, rotation=10, scale=0.2, noise=0.1, jpeg=30)


class Brightness(nn.Module):
    """A network that reads the mean level, sharply: its margin is a known function of the film."""

    def __init__(self, sharpness: float) -> None:
        super().__init__()
        self.sharpness = sharpness

    def forward(self, films: torch.Tensor) -> torch.Tensor:
        margin = films.mean(dim=(1, 2, 3)) * self.sharpness
        return torch.stack([torch.zeros_like(margin), margin], dim=1)


def films(count: int = 400, side: int = 16, apart: float = 20.0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    rng = np.random.default_rng(5)
    labels = (np.arange(count) % 4 > 0).astype(np.int64)  # three in four are ill
    level = 118 + apart * (labels - 0.5) + 12 * rng.standard_normal(count)
    pixels = level[:, None, None] + rng.standard_normal((count, side, side))
    return pixels.clip(0, 255).astype(np.uint8), labels


@pytest.mark.parametrize("target", [0.8, 0.95, 0.99])
def test_the_threshold_keeps_the_sensitivity_and_no_more_than_it_has_to(target: float) -> None:
    pixels, labels = films()
    config = EvaluateConfig(target_sensitivity=target, perturbations=4)
    point = operating_point(Brightness(1.0), pixels, labels, np.arange(len(labels)), SOME, config)
    assert target <= point.sensitivity <= target + 0.02
    assert 0 < point.threshold < 1


def test_a_harder_change_costs_specificity() -> None:
    pixels, labels = films()
    every = np.arange(len(labels))
    plain = operating_point(Brightness(1.0), pixels, labels, every, NONE, EvaluateConfig())
    wild = AugmentConfig(flip=0, rotation=0, brightness=0.3, contrast=0)
    hard = operating_point(Brightness(1.0), pixels, labels, every, wild, EvaluateConfig())
    assert hard.specificity < plain.specificity - 0.1
    assert hard.auroc < plain.auroc


@pytest.mark.parametrize("sharpness", [0.3, 3.0, 30.0])
def test_the_temperature_does_away_with_a_sharpness_that_was_put_in(sharpness: float) -> None:
    pixels, labels = films()
    every = np.arange(len(labels))
    unit = operating_point(Brightness(1.0), pixels, labels, every, NONE, EvaluateConfig()).temperature
    found = operating_point(Brightness(sharpness), pixels, labels, every, NONE, EvaluateConfig()).temperature
    if 0.1 < unit * sharpness < 10:
        assert found == pytest.approx(unit * sharpness, rel=0.05)
    else:
        assert found in (0.1, 10.0), "the end of the range"


def test_only_the_films_that_are_named_are_used_and_the_draws_are_the_same_each_time() -> None:
    pixels, _ = films(40)
    chosen = np.arange(0, 40, 3)
    others = pixels.copy()
    others[np.setdiff1d(np.arange(40), chosen)] = 0
    first = perturbed_margins(Brightness(1.0), pixels, chosen, SOME, 3)
    assert first.shape == (3, len(chosen))
    assert not np.array_equal(first[0], first[1])
    assert np.array_equal(first, perturbed_margins(Brightness(1.0), others, chosen, SOME, 3))


def test_the_temperature_in_the_weights_is_that_of_the_logits() -> None:
    network = model.build("none", seed=3)
    pixels, _ = films(8, 64)
    before = predict(network, pixels, np.arange(8))
    scaled = model.build("none", seed=0)
    scaled.load_state_dict(apply_temperature(network.state_dict(), 2.5))
    after = predict(scaled, pixels, np.arange(8))
    odds = np.log(before / (1 - before)) / 2.5
    assert after == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-5)
