"""A data set on the device gives the batches that copying each of them gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pneumonia.data.images import Images
from pneumonia.modelling.device import CPU, Compute
from pneumonia.modelling.resident import ResidentImages

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (50, 8, 8), dtype=np.uint8)
ROWS = np.arange(1, 50, 2)
IMAGES = Images(PIXELS, ROWS, ROWS % 3 % 2, [str(row) for row in ROWS])


def test_both_ways_give_the_same_batch_in_ascending_order() -> None:
    chosen = np.array([7, 2, 24, 0])
    copied, resident = ResidentImages.of(IMAGES, CPU), ResidentImages.copied(IMAGES, CPU, block=10)
    assert copied.pixels is None, "a CPU reads the memory map"
    for found in (copied.batch(chosen), resident.batch(chosen)):
        assert torch.equal(found[0], torch.from_numpy(PIXELS[ROWS[[0, 2, 7, 24]]]).float() / 255)
        assert found[1].tolist() == IMAGES.labels[[0, 2, 7, 24]].tolist()


@pytest.mark.parametrize(("free", "kept"), [(10_000, True), (3_000, False)])
def test_a_gpu_holds_what_fits_half_of_its_free_memory(free: int, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 80_000))
    copied: list[int] = []
    monkeypatch.setattr(ResidentImages, "copied", classmethod(lambda cls, images, _: copied.append(len(images))))
    ResidentImages.of(IMAGES, Compute(torch.device("cuda")))
    assert copied == ([25] if kept else [])


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_gives_the_cpus_batch() -> None:
    cuda = Compute(torch.device("cuda"))
    images, labels = ResidentImages.of(IMAGES, cuda).batch(np.array([3, 1]))
    expected, known = ResidentImages.of(IMAGES, CPU).batch(np.array([3, 1]))
    assert torch.equal(images.cpu(), expected)
    assert torch.equal(labels.cpu(), known)
