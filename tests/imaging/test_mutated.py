"""Damaged files give a picture or a refusal, and no other exception, in memory that stays as it is."""

from __future__ import annotations

from collections import Counter

import numpy as np
import psutil
import pytest

from pneumonia.config.schema import PreprocessConfig
from pneumonia.imaging.radiograph import UnreadableRadiograph, read_bytes
from tests.support.mutated import CORPUS, mutated

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

SMALL = PreprocessConfig(size=64)
MIB = 2**20


def outcome(number: int) -> str:
    """What becomes of a mutated file; anything but these two fails the test, with the number to repeat it."""
    try:
        pixels = read_bytes(mutated(number), SMALL).pixels
    except UnreadableRadiograph as refusal:
        return "refused" if str(refusal).isprintable() else f"cannot be printed: {refusal!r}"
    except Exception as error:
        raise AssertionError(f"mutated({number})") from error
    assert pixels.shape == (64, 64)
    assert pixels.dtype == np.uint8
    return "picture"


def test_a_thousand_mutated_files() -> None:
    outcomes = Counter(outcome(number) for number in range(1_000))
    assert set(outcomes) == {"picture", "refused"}
    assert min(outcomes["picture"], outcomes["refused"]) > 200


def test_the_unchanged_files_are_pictures() -> None:
    for content in CORPUS:
        assert read_bytes(content, SMALL).pixels.any()


@pytest.mark.nightly
def test_twenty_thousand_mutated_files_in_flat_memory() -> None:
    process, outcomes = psutil.Process(), set[str]()
    outcomes |= {outcome(number) for number in range(1_000, 5_000)}
    before = process.memory_info().rss
    outcomes |= {outcome(number) for number in range(5_000, 21_000)}
    assert process.memory_info().rss - before < 32 * MIB
    assert outcomes == {"picture", "refused"}
