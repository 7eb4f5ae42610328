"""What holds on a GPU: the CPU's draws, the same bits twice and after a resume, the CPU's scores. Each needs one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pneumonia.config.schema import AugmentConfig
from pneumonia.modelling.augment import augment
from pneumonia.modelling.device import CPU, Compute
from pneumonia.modelling.network import build_network
from pneumonia.modelling.scoring import predict_probabilities
from tests.support.trainings import FULL, config, make_images, train

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
CUDA = Compute(torch.device("cuda"))
ON_GPU = ("train.device=cuda", "train.epochs=2", *FULL)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_what_is_drawn_for_an_image_is_the_cpus(noise: float) -> None:
    changes = AugmentConfig(rotation=20, scale=0.2, brightness=0.2, gamma=0.2, blur=1, noise=noise)
    images = torch.rand(8, 32, 32, generator=torch.Generator().manual_seed(0))
    cpu, twice = augment(images, changes, torch.Generator().manual_seed(1)), []
    for _ in range(2):
        twice.append(augment(images.cuda(), changes, torch.Generator().manual_seed(1)).cpu())
    assert torch.equal(*twice)
    assert float((twice[0] - cpu).abs().mean()) < (0.1 if noise else 1e-4)


def test_a_training_gives_the_same_bits_twice(tmp_path: Path) -> None:
    first, second = (train(tmp_path / name, None, *ON_GPU) for name in ("first", "second"))
    assert first.weights_digest == second.weights_digest


def test_a_training_that_is_stopped_ends_in_the_same_weights(tmp_path: Path) -> None:
    from pneumonia.modelling.training_loop import fit

    whole = train(tmp_path / "whole", None, *ON_GPU)

    def stop(done: float, total: float, message: str = "") -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(make_images(), config(*ON_GPU), tmp_path / "stopped", "key", on_step=stop)
    assert train(tmp_path / "stopped", None, *ON_GPU).weights_digest == whole.weights_digest


def test_scores_are_the_cpus() -> None:
    network = build_network("resnet18", "none", seed=0)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 64, 64), dtype=np.uint8)
    scores = [predict_probabilities(network, pixels, np.arange(20), compute) for compute in (CPU, CUDA)]
    np.testing.assert_allclose(*scores, atol=1e-4)


def test_float32_is_float32_inside_and_as_before_after() -> None:
    before = torch.backends.cudnn.allow_tf32
    with CUDA.limited():
        assert not torch.backends.cudnn.allow_tf32
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.allow_tf32 == before
    assert not torch.are_deterministic_algorithms_enabled()
