"""The operating point: what it promises on changed images, and that it stays in the weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from pneumonia.config.schema import AugmentConfig, OperatingPointConfig
from pneumonia.data.images import Images
from pneumonia.modelling.calibration import INTERVAL, MAX_SLOPE, apply_calibration, find_operating_point, margins
from pneumonia.modelling.network import build_network
from pneumonia.modelling.scoring import predict_probabilities
from pneumonia.records.model import OperatingPoint
from pneumonia.statistics.metrics import Scored, compute_metrics

NONE = AugmentConfig(flip=0, rotation=0, brightness=0, contrast=0)
SOME = AugmentConfig(flip=0.5, rotation=10, scale=0.2, noise=0.1, jpeg=30)


class Brightness(nn.Module):
    """A network that reads the mean level, sharply: its margin is a known function of the image."""

    def __init__(self, sharpness: float) -> None:
        super().__init__()
        self.sharpness = sharpness

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        margin = (images.mean(dim=(1, 2)) - 0.449) / 0.226 * self.sharpness
        return torch.stack([torch.zeros_like(margin), margin], dim=1)


def make_images(count: int = 400, side: int = 16, apart: float = 20.0, each: int = 1) -> Images:
    """Return validation images, `each` a patient."""
    rng = np.random.default_rng(5)
    labels = (np.arange(count) % 4 > 0).astype(np.int64)  # three in four are positive
    level = 118 + apart * (labels - 0.5) + 12 * rng.standard_normal(count)
    pixels = level[:, None, None] + rng.standard_normal((count, side, side))
    patients = [str(row // each) for row in range(count)]
    return Images(pixels.clip(0, 255).astype(np.uint8), np.arange(count), labels, patients)


@pytest.mark.parametrize("target", [0.8, 0.95, 0.99])
def test_the_threshold_keeps_the_sensitivity_and_no_more_than_it_has_to(target: float) -> None:
    data, config = make_images(4000), OperatingPointConfig(target_sensitivity=target, perturbations=1)
    network = Brightness(1.0)
    point = find_operating_point(network, data, SOME, config)
    # 3000 positive images: the interval's lower end is two standard errors of a share below the value
    error = np.sqrt(target * (1 - target) / 3000)
    assert target + 0.5 * error <= point.sensitivity <= target + 3.5 * error < 1
    found = margins(network, data, SOME, 1)[0]
    scores = 1 / (1 + np.exp(-(found / point.temperature + point.bias)))
    for moved, kept in ((0.0, True), (0.01, False)):
        scored = Scored(data.labels, scores, data.patients, point.threshold + moved)
        assert (compute_metrics(scored, INTERVAL)["sensitivity"].low >= target - 1e-9) is kept


def test_fewer_patients_make_the_threshold_more_cautious() -> None:
    """Ten images of each patient are not ten observations."""
    config = OperatingPointConfig(target_sensitivity=0.8)
    alone = find_operating_point(Brightness(1.0), make_images(), NONE, config)
    data = make_images()
    # the images of a patient alike: sorted by brightness, ten at a time
    order = np.argsort(data.pixels.mean(axis=(1, 2)))
    patients = [""] * len(order)
    for place, row in enumerate(order):
        patients[row] = str(place // 10)
    together = find_operating_point(Brightness(1.0), replace(data, patients=patients), NONE, config)
    assert together.threshold < alone.threshold
    assert together.sensitivity > alone.sensitivity
    assert together.auroc == alone.auroc


def test_a_harder_change_costs_specificity() -> None:
    plain = find_operating_point(Brightness(1.0), make_images(), NONE, OperatingPointConfig())
    wild = AugmentConfig(flip=0, rotation=0, brightness=0.3, contrast=0)
    hard = find_operating_point(Brightness(1.0), make_images(), wild, OperatingPointConfig())
    assert hard.specificity < plain.specificity - 0.1
    assert hard.auroc < plain.auroc


@pytest.mark.parametrize("sharpness", [0.3, 3.0, 30.0])
def test_the_temperature_does_away_with_a_sharpness_that_was_put_in(sharpness: float) -> None:
    unit = find_operating_point(Brightness(1.0), make_images(), NONE, OperatingPointConfig()).temperature
    found = find_operating_point(Brightness(sharpness), make_images(), NONE, OperatingPointConfig()).temperature
    wanted = np.clip(unit * sharpness, 1 / MAX_SLOPE, MAX_SLOPE)
    assert found == pytest.approx(wanted, rel=0.02)


def test_probabilities_are_right_where_both_classes_are_equally_likely() -> None:
    """Of two normal distributions of one spread the log odds are linear, and known."""
    data, apart, spread = make_images(4000), 20.0, 12.0
    network = Brightness(1.0)
    point = find_operating_point(network, data, NONE, OperatingPointConfig())
    # the margin is in units of the normalised image; a step of one grey level moves it by this much
    found = margins(network, data, NONE, 1)[0]
    grey = np.polyfit(data.pixels.mean(axis=(1, 2)), found, 1)
    slope, middle = 1 / point.temperature * grey[0], (-point.bias * point.temperature - grey[1]) / grey[0]
    assert slope == pytest.approx(apart / spread**2, rel=0.1)
    assert middle == pytest.approx(117.5, abs=1.0), "half a grey level is lost to rounding down"


def test_only_the_images_that_are_named_are_used_and_the_draws_are_the_same_each_time() -> None:
    data = make_images(40)
    chosen = np.arange(0, 40, 3)
    others = data.pixels.copy()
    others[np.setdiff1d(np.arange(40), chosen)] = 0
    first = margins(Brightness(1.0), data.take(chosen), SOME, 3)
    assert first.shape == (3, len(chosen))
    assert not np.array_equal(first[0], first[1])
    assert np.array_equal(first, margins(Brightness(1.0), replace(data, pixels=others).take(chosen), SOME, 3))


def test_the_calibration_in_the_weights_is_that_of_the_logits() -> None:
    network = build_network("tiny", "none", seed=3)
    pixels = make_images(8, 64).pixels
    before = predict_probabilities(network, pixels, np.arange(8))
    scaled = build_network("tiny", "none", seed=0)
    point = OperatingPoint(temperature=2.5, bias=-0.7, threshold=0.5, sensitivity=1, specificity=1, auroc=1)
    scaled.load_state_dict(apply_calibration(network.state_dict(), point))
    after = predict_probabilities(scaled, pixels, np.arange(8))
    odds = np.log(before / (1 - before)) / 2.5 - 0.7
    assert after == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-5)
