"""The arrays that images are compared with, and the distances that they give."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load, save

from pneumonia.imaging.layout import measure_layout
from pneumonia.inference.reference import (
    AGES,
    ENOUGH,
    FEWEST,
    REFUSED,
    HeldOutImages,
    Reference,
    build_reference,
    describe_embedding,
)
from pneumonia.inference.subspace import Subspace
from tests.support.exports import phantoms

RNG = np.random.default_rng(5)


def images(count: int, seed: int) -> HeldOutImages:
    """Phantoms, and as embeddings means of patches of them."""
    found = phantoms(count, seed)
    patches = found.pixels.reshape(count, 8, 8, 8, 8).mean((2, 4), dtype=np.float32).reshape(count, 64) / 64
    logits = np.stack([np.zeros(count), found.labels - 0.5], axis=1).astype(np.float32)
    everywhere = np.ones(count, np.bool_)
    return HeldOutImages(found.pixels, found.statistics, patches, logits, found.labels, found.patients, everywhere)


def test_a_reference_survives_its_file_and_is_small() -> None:
    arrays = build_reference(images(64, 1), images(32, 2), (1.0, 5.0))
    content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    assert len(content) < 300_000
    again = load(content)
    assert again[AGES].tolist() == [1.0, 5.0]
    assert again["embeddings"].shape == (64, 64)
    assert again["validation_statistics"].shape == images(32, 2).statistics.shape
    assert Reference.load(again) is not None
    assert {"head", "sample_pixels"}.isdisjoint(arrays)


def test_the_same_images_make_the_same_reference() -> None:
    first, second = (build_reference(images(32, 1), images(16, 2)) for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_too_few_images_make_no_check() -> None:
    arrays = build_reference(images(FEWEST - 1, 1), images(8, 2))
    assert Reference.load(arrays) is None
    assert arrays["embeddings"].shape == (FEWEST - 1, 64)


@pytest.mark.parametrize("held_out", [20, ENOUGH])
def test_at_most_so_many_held_out_images_are_refused(held_out: int) -> None:
    validation = images(held_out, 2)
    reference = Reference.load(build_reference(images(64, 1), validation))
    assert reference is not None
    found = [
        reference.measure(embedding, measure_layout(pixels))
        for embedding, pixels in zip(validation.embeddings, validation.pixels, strict=True)
    ]
    unlike, far = np.array(found).T
    assert (unlike >= reference.limits[0]).mean() <= 1 - REFUSED
    assert (far >= reference.limits[1]).mean() < 0.1
    assert reference.percentile(far.max() + 100) == 100
    assert reference.percentile(far.min() - 100) == 0


def test_a_subspace_measures_what_lies_beside_it() -> None:
    plane = np.zeros((100, 6), np.float32)
    plane[:, :3] = RNG.normal(size=(100, 3))
    space = Subspace.fit(plane)
    within, outside, further = np.eye(6, dtype=np.float32)[[0, 4, 4]] * np.array([[3], [1], [2]], np.float32)
    assert space.beside(within) < space.beside(outside) - 5
    assert space.beside(further) - space.beside(outside) == pytest.approx(2 * np.log(2), abs=1e-3)
    assert space.beside(np.stack([within, outside])).shape == (2,)


def test_the_nearest_vector_is_found_by_direction() -> None:
    space = Subspace.fit(RNG.normal(size=(40, 12)).astype(np.float32))
    assert space.nearest(5 * space.units[7]) < -10
    assert space.nearest(-space.units[7]) > space.nearest(space.units[7] + 0.1 * space.units[8])


def test_negative_embeddings_count_as_nothing() -> None:
    assert describe_embedding(np.array([-1.0, 0.0, 4.0], np.float32)).tolist() == [0.0, 0.0, 2.0]
