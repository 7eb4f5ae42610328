"""Render the parts of phantoms: soft edges, smooth noise, the marker, the tone curve."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[Any]
"""float32, one value per pixel: [size, size], or [1, size] or [size, 1] where the value is constant along an axis."""

_LETTER = np.array([[1, 1, 1, 0], [1, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 0], [1, 0, 1, 0], [1, 0, 0, 1]], np.float32)


def step(value: Plane, softness: float) -> Plane:
    """Return 0 where `value` is below -softness, 1 above softness, and the cubic smoothstep in between."""
    # t t (3 - 2 t), in place: its temporaries would take most of an image's time
    t: Plane = value * (0.5 / softness)
    t += 0.5
    np.clip(t, 0, 1, out=t)
    smooth: Plane = t * -2
    smooth += 3
    smooth *= t
    smooth *= t
    return smooth


@lru_cache(maxsize=4)
def grid(size: int) -> tuple[Plane, Plane]:
    """Return the pixel centres, x as [1, size] and y as [size, 1], from -1 to 1."""
    axis = ((np.arange(size) + 0.5) * (2 / size) - 1).astype(np.float32)
    return axis[None, :], axis[:, None]


@lru_cache(maxsize=32)
def _spread(size: int, cells: int) -> Plane:
    """Return the matrix [size, cells] that interpolates a coarse row over `size` pixels by quadratic B-splines."""
    at = (np.arange(size) + 0.5) * ((cells - 2) / size) + 0.5
    gap = np.abs(at[:, None] - np.arange(cells)[None, :])
    weight = np.where(gap < 0.5, 0.75 - gap**2, 0.5 * np.clip(1.5 - gap, 0, None) ** 2)
    matrix: Plane = weight.astype(np.float32)
    return matrix


def noise(rng: np.random.Generator, size: int, cells: int) -> Plane:
    """Return smooth noise [size, size] of about `cells` bumps per side, mean 0, standard deviation about 1."""
    spread = _spread(size, cells)
    rough = rng.standard_normal((cells, cells), dtype=np.float32)
    smooth: Plane = (spread @ rough @ spread.T) * np.float32(1.65)
    return smooth


def marker(rng: np.random.Generator, size: int) -> Plane:
    """Return the technician's lead letter, which most images have: [size, size], 0 where there is none."""
    plane = np.zeros((size, size), np.float32)
    scale = max(1, round(size * float(rng.uniform(0.005, 0.01))))
    top, left = int(size * rng.uniform(0.02, 0.4)), int(size * rng.uniform(0.01, 0.07))
    if rng.random() < 0.8:
        letter = np.kron(_LETTER, np.ones((scale, scale), np.float32))
        plane[top : top + letter.shape[0], left : left + letter.shape[1]] = 1.2 * letter
    return plane


def expose(depth: Plane, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Convert depths to grey levels: the beam's attenuation, grain, and a mean and a spread drawn at random.

    Because mean and spread are drawn independently of the depths, they do not depend on the class; 122 ± 13 and 57 ± 5
    grey levels are those of the published radiographs.

    Args:
        depth: float [size, size], 0 for air.
        rng: draws hardness of the beam, contrast of the image, grain, mean and spread.

    Returns:
        uint8 [size, size].
    """
    size = depth.shape[0]
    depth = np.maximum(depth, 0) * (1 + 0.06 * noise(rng, size, 5))
    grey = (1 - np.exp(-float(rng.uniform(0.8, 1.6)) * depth)) ** float(rng.uniform(0.65, 1.5))
    grey += float(rng.uniform(0.002, 0.014)) * rng.standard_normal((size, size), dtype=np.float32)
    mean, spread = float(rng.normal(122, 13)), float(rng.normal(57, 5))
    for _ in range(3):  # clipping changes both; a few iterations converge
        grey = np.clip((grey - grey.mean()) * (spread / grey.std()) + mean, 0, 255)
    pixels: NDArray[np.uint8] = np.rint(grey).astype(np.uint8)
    return pixels
