"""The benchmark of a large set, in a small form: what was planted is found, in little memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from benchmarks import large_set
from pneumonia.data.audit import checks
from pneumonia.data.audit.near_duplicates import near_pairs
from pneumonia.data.manifest import Entry


@pytest.mark.integration
def test_every_planted_copy_and_near_duplicate_is_found() -> None:
    found = large_set.run(2000, 64)
    assert found["planted"] == {"copies": 10, "near_duplicates": 10}
    assert found["images"] == 2000
    assert found["duplicate_groups"] == 10
    assert found["near_duplicates"] == 20  # a copy is one as well
    assert found["leaks"] == []  # copies of another patient's image lie in its split
    grown = found["audit_memory_mib"] - found["memory_start_mib"]
    assert grown < 400, "the libraries take about 150 MiB, thumbnails 8, a block of products 16"


def test_memory_holds_thumbnails_and_no_matrix_of_all_pairs(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6000, 32, 32), dtype=np.uint8)
    np.save(tmp_path / "pixels.npy", images)
    del images
    pixels = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    tracemalloc.start()
    try:
        assert list(near_pairs(pixels, 0.985)) == []
        peak = tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
    assert peak < 6000 * 4 / 1024 + 30, "6000 x 6000 products are 137 MiB"


def test_many_copies_of_one_image_are_counted_and_not_kept() -> None:
    """Of 6,000 copies there are 18 million pairs, 360 MB where all are kept at a time."""
    pixels = np.repeat(np.random.default_rng(0).integers(0, 256, (1, 32, 32), dtype=np.uint8), 6000, axis=0)
    entries = [
        Entry(f"{at:05d}", "", at % 2, "", "train", "train" if at else "test", 9, 9, "", "same", 9)
        for at in range(6000)
    ]
    tracemalloc.start()
    try:
        found, across = checks.near_duplicates(entries, near_pairs(pixels, 0.985), 0.985)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
    assert found.count == 6000 * 5999 // 2
    assert f"{found.count} of them with equal pixels and {3000 * 3000} in different classes" in found.summary
    assert across.count == 5999
    assert len(found.examples) == len(across.examples) == 20
    assert across.examples[0]["files"][0] == "00000"
    assert peak < 330
