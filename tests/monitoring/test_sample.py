"""Images as drift sees them: checks of the arrays, the reference's, and what is classified as what."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pneumonia.imaging.image_statistics import STATISTICS
from pneumonia.monitoring.sample import Sample
from tests.support.drifting import Place, draw


def test_a_reference_is_its_images_of_the_place_of_use() -> None:
    arrays = {
        "validation_logits": np.array([[0, 1], [2, 0], [0, 3], [0, 0]], np.float32),
        "validation_embeddings": np.ones((4, 5), np.float16),
        "validation_statistics": np.ones((4, len(STATISTICS)), np.float32),
        "validation_labels": np.array([1, 0, 1, 0], np.uint8),
        "validation_patients": np.array([3, 4, 5, 6], np.int32),
        "validation_refused": np.array([0, 0, 1, 0], np.uint8),
        "validation_familiar": np.ones(4, np.uint8),
        "validation_place": np.array([1, 1, 1, 0], np.uint8),
        "embeddings": np.ones((9, 5), np.float16),
    }
    found = Sample.of_reference(arrays, 0.5)
    np.testing.assert_array_equal(found.margins, [1, -2, np.nan])
    assert found.foreign.tolist() == [False, False, True]
    assert found.decided.tolist() == [True, False, False]
    assert found.patients is not None
    assert found.patients.tolist() == [3, 4, 5]
    with pytest.raises(KeyError):
        Sample.of_reference({"embeddings": arrays["embeddings"]}, 0.5)


def test_arrays_of_other_images_are_refused() -> None:
    one = draw(20, 0)
    with pytest.raises(ValueError, match="different images"):
        replace(one, labels=one.labels[1:])
    with pytest.raises(ValueError, match="without one"):
        replace(one, margins=np.full(20, np.nan))


def test_the_threshold_is_of_the_probability() -> None:
    one = draw(200, 1, Place(foreign=0.1))
    probabilities = 1 / (1 + np.exp(-one.margins))
    for threshold in (0.2, 0.5, 0.9):
        decided = replace(one, threshold=threshold).decided
        np.testing.assert_array_equal(decided[one.accepted], probabilities[one.accepted] >= threshold)
        assert not decided[~one.accepted].any()
    assert replace(one, threshold=0.0).decided.sum() == one.accepted.sum()
    assert not replace(one, threshold=1.0).decided.any()


def test_the_digest_is_of_every_array() -> None:
    one = draw(20, 2)
    changed = {name: array.copy() for name, array in one.arrays().items()}
    changed["statistics"][3, 4] += 1  # type: ignore[operator]
    assert one.digest() == draw(20, 2).digest()
    assert one.digest() != replace(one, statistics=changed["statistics"]).digest()
    assert one.digest() != replace(one, threshold=0.4).digest()
    assert one.digest() != replace(one, patients=None).digest()
    assert len(one.last(5)) == 5
    assert len(one.last(50)) == 20
