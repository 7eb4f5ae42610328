"""The forward pass of validation, testing and prediction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pneumonia.modelling import scoring
from pneumonia.modelling.batch_norm import recalibrate_batch_norm
from pneumonia.modelling.network import build_network, normalise
from pneumonia.modelling.scoring import predict_probabilities

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return build_network("none", seed=1)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (20, 32, 32), dtype=np.uint8)


def test_a_score_is_the_softmax_of_pneumonia(network: nn.Module, pixels: np.ndarray) -> None:
    chosen = np.array([3, 17, 5, 3])
    network.train()
    scores = predict_probabilities(network, pixels, chosen)
    assert not network.training
    assert scores.dtype == np.float64
    with torch.no_grad():
        expected = network(normalise(torch.from_numpy(pixels[chosen]))).softmax(1)[:, 1]
    np.testing.assert_allclose(scores, expected.numpy(), rtol=1e-5)
    assert scores[0] == scores[3]


def test_the_batch_does_not_matter(network: nn.Module, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = predict_probabilities(network, pixels, np.arange(20))
    monkeypatch.setattr(scoring, "BATCH", 7)
    np.testing.assert_allclose(predict_probabilities(network, pixels, np.arange(20)), whole, rtol=1e-5)


def test_bf16_is_close(network: nn.Module, pixels: np.ndarray) -> None:
    exact = predict_probabilities(network, pixels, np.arange(20))
    rounded = predict_probabilities(network, pixels, np.arange(20), device=CPU, precision="bf16")
    assert not np.array_equal(rounded, exact)
    np.testing.assert_allclose(rounded, exact, atol=0.02)


def test_nothing_to_score_is_nothing(network: nn.Module, pixels: np.ndarray) -> None:
    assert predict_probabilities(network, pixels, np.empty(0, dtype=np.int64)).shape == (0,)


def test_a_read_only_map_can_be_scored(network: nn.Module, pixels: np.ndarray, tmp_path: object) -> None:
    path = f"{tmp_path}/pixels.npy"
    np.save(path, pixels)
    mapped = np.load(path, mmap_mode="r")
    np.testing.assert_array_equal(
        predict_probabilities(network, mapped, np.arange(4)), predict_probabilities(network, pixels, np.arange(4))
    )


def test_refreshed_norms_are_the_films_own(pixels: np.ndarray) -> None:
    network = build_network("none", seed=1)
    chosen = np.arange(20)
    recalibrate_batch_norm(network, pixels, chosen, device=CPU)
    norm = network.get_submodule("bn1")
    assert isinstance(norm, nn.BatchNorm2d)
    with torch.no_grad():
        values = network.get_submodule("conv1")(normalise(torch.from_numpy(pixels)))
    torch.testing.assert_close(norm.running_mean, values.mean(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, values.var(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert norm.momentum == 0.1


def test_refreshing_norms_forgets_what_was_there(pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "BATCH", 8)
    network = build_network("none", seed=1)
    weights = {name: value.clone() for name, value in network.named_parameters()}
    recalibrate_batch_norm(network, pixels, np.arange(19), device=CPU)  # 8 + 8; 3 left are too few and are not used
    first = {name: value.clone() for name, value in network.named_buffers()}
    recalibrate_batch_norm(network, pixels, np.arange(16), device=CPU)
    assert all(torch.equal(value, first[name]) for name, value in network.named_buffers())
    assert all(torch.equal(value, weights[name]) for name, value in network.named_parameters())
