"""The layout of bright and dark, and that turning it is turning the image."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pneumonia.imaging.layout import CELLS, DIRECTIONS, inverted, measure_layout, mirrored, rotated
from tests.support.images import picture

SQUARE = picture(3, 128, 128)
CLOSE = 0.1
"""Share of the layout's length: equal grey levels fall into one when an image is reversed."""


def differ(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(first - second) / np.linalg.norm(first))


@pytest.mark.parametrize(
    ("pixels", "layout"),
    [
        (255 - SQUARE, inverted(measure_layout(SQUARE))),
        (SQUARE[:, ::-1], mirrored(measure_layout(SQUARE))),
        *((np.rot90(SQUARE, turns), rotated(measure_layout(SQUARE), turns)) for turns in (1, 2, 3)),
    ],
    ids=["negative", "mirrored", "90", "180", "270"],
)
def test_the_layout_of_a_turned_image_is_the_turned_layout(
    pixels: NDArray[np.uint8], layout: NDArray[np.float32]
) -> None:
    measured = measure_layout(np.ascontiguousarray(pixels))
    assert differ(measured, layout) < CLOSE
    assert differ(measured, measure_layout(SQUARE)) > 5 * CLOSE


def test_contrast_and_size_do_not_change_the_layout() -> None:
    faint = np.asarray(90 + SQUARE / 4, np.uint8)
    assert differ(measure_layout(SQUARE), measure_layout(faint)) < CLOSE
    assert differ(measure_layout(SQUARE), measure_layout(SQUARE.repeat(2, 0).repeat(2, 1))) < CLOSE


def test_an_edge_points_from_dark_to_bright() -> None:
    edge = np.zeros((64, 64), np.uint8)
    edge[:, 36:] = 200
    layout = measure_layout(edge)
    assert layout.shape == (CELLS, CELLS, DIRECTIONS)
    assert set(np.flatnonzero(layout[3].max(axis=1) > 0)) == {4}
    assert layout[3, 4].argmax() == 0


def test_an_image_of_one_level_has_no_layout() -> None:
    assert not measure_layout(np.full((32, 32), 7, np.uint8)).any()
