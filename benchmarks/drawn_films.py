"""Draw crude radiographs of other parts of the body: bones and soft tissue as cylinders and ellipsoids.

A film shows how much lies in the beam, so that a body's brightness is the length of the ray within it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

SIDE = 448
Film = NDArray[np.float32]
Point = tuple[float, float]


class Canvas:
    """A film to be drawn on; lengths are shares of its side, brightness is added up."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.film: Film = np.zeros((SIDE, SIDE), np.float32)
        self._y, self._x = (np.mgrid[0:SIDE, 0:SIDE] / SIDE).astype(np.float32)

    def rod(self, start: Point, end: Point, radius: float, weight: float) -> None:
        """Add a cylinder with round ends, such as a bone; its rim (the cortex) is brighter than its middle."""
        (y0, x0), (y1, x1) = start, end
        length = max((y1 - y0) ** 2 + (x1 - x0) ** 2, 1e-9)
        along = np.clip(((self._y - y0) * (y1 - y0) + (self._x - x0) * (x1 - x0)) / length, 0, 1)
        waist = 1 - 0.25 * np.sin(np.pi * along)  # a bone is thinner in the middle
        far = np.hypot(self._y - y0 - along * (y1 - y0), self._x - x0 - along * (x1 - x0)) / (radius * waist)
        outer = np.sqrt(np.clip(1 - far**2, 0, None))
        self.film += weight * (outer - 0.6 * np.sqrt(np.clip(0.5 - far**2, 0, None)))

    def body(self, centre: Point, half: Point, weight: float, tilt: float = 0.0) -> None:
        """Add an ellipsoid, such as a trunk or a lung (of negative weight)."""
        y, x = self._y - centre[0], self._x - centre[1]
        y, x = y * np.cos(tilt) - x * np.sin(tilt), y * np.sin(tilt) + x * np.cos(tilt)
        self.film += weight * np.sqrt(np.clip(1 - (y / half[0]) ** 2 - (x / half[1]) ** 2, 0, None))

    def shell(self, centre: Point, half: Point, thickness: float, weight: float) -> None:
        """Add a hollow ellipsoid, such as a skull."""
        self.body(centre, half, weight)
        self.body(centre, (half[0] - thickness, half[1] - thickness), -0.85 * weight)

    def shake(self, size: float) -> float:
        """Return a random number within plus or minus ``size``."""
        return float(self.random.uniform(-size, size))

    def picture(self) -> NDArray[np.uint8]:
        """Return the film, uint8 [SIDE, SIDE], with a little noise."""
        noisy = np.clip(self.film, 0, None) + self.random.normal(0, 0.01, self.film.shape)
        low, high = np.quantile(noisy, (0.01, 0.995))
        shown = np.clip((noisy - low) / (high - low), 0, 1) ** self.random.uniform(0.7, 1.2)
        return np.asarray(np.rint(255 * shown), np.uint8)


def hand(canvas: Canvas) -> None:
    """Draw a hand, its fingers upwards."""
    middle = 0.5 + canvas.shake(0.05)
    canvas.body((0.66, middle), (0.2, 0.17), 0.35)
    canvas.rod((0.75, middle), (1.05, middle), 0.11, 0.5)
    for finger, angle in enumerate(np.linspace(-0.35, 0.3, 4) + canvas.shake(0.05)):
        y, x, reach = 0.62, middle - 0.12 + 0.08 * finger, (0.40, 0.46, 0.44, 0.36)[finger]
        canvas.rod((y, x), (y - reach * 1.25 * np.cos(angle), x + reach * 1.25 * np.sin(angle)), 0.035, 0.35)
        for share in (0.42, 0.27, 0.18, 0.13):
            end = (y - share * reach * 1.2 * np.cos(angle), x + share * reach * 1.2 * np.sin(angle))
            canvas.rod((y, x), end, 0.017, 0.7)
            y, x = end[0] - 0.012, end[1]
    canvas.rod((0.7, middle - 0.12), (0.5, middle - 0.3), 0.04, 0.35)
    canvas.rod((0.7, middle - 0.12), (0.5, middle - 0.3), 0.018, 0.7)
    for _ in range(8):
        canvas.body((0.71 + canvas.shake(0.04), middle + canvas.shake(0.08)), (0.025, 0.025), 0.6)
    canvas.rod((0.79, middle - 0.05), (1.05, middle - 0.05), 0.04, 0.8)
    canvas.rod((0.79, middle + 0.05), (1.05, middle + 0.05), 0.028, 0.8)


def knee(canvas: Canvas) -> None:
    """Draw a knee: the ends of two bones, and the fibula."""
    middle, lean = 0.5 + canvas.shake(0.05), canvas.shake(0.05)
    canvas.rod((-0.1, middle + lean), (1.1, middle), 0.24, 0.6)
    canvas.rod((-0.1, middle + lean), (0.40, middle), 0.09, 1.0)
    canvas.rod((0.58, middle), (1.1, middle - lean), 0.075, 1.0)
    for side in (-0.07, 0.07):
        canvas.body((0.43, middle + side), (0.07, 0.075), 0.6)
        canvas.body((0.56, middle + side), (0.05, 0.075), 0.6)
    canvas.rod((0.62, middle + 0.14), (1.1, middle + 0.1), 0.03, 0.7)


def skull(canvas: Canvas) -> None:
    """Draw a skull from the front."""
    middle, top = 0.5 + canvas.shake(0.03), 0.4 + canvas.shake(0.03)
    canvas.body((top, middle), (0.36, 0.28), 0.5)
    canvas.shell((top, middle), (0.36, 0.28), 0.03, 0.9)
    canvas.body((top + 0.32, middle), (0.22, 0.19), 0.7)
    for side in (-0.11, 0.11):
        canvas.body((top + 0.1, middle + side), (0.06, 0.07), -0.5)
        canvas.body((top + 0.25, middle + side), (0.07, 0.05), -0.3)
    canvas.body((top + 0.2, middle), (0.08, 0.04), -0.4)
    for tooth in np.linspace(-0.08, 0.08, 8):
        canvas.rod((top + 0.36, middle + tooth), (top + 0.42, middle + tooth), 0.01, 0.6)


def skull_lateral(canvas: Canvas) -> None:
    """Draw a skull from the side."""
    middle = 0.48 + canvas.shake(0.04)
    canvas.shell((0.36, middle), (0.3, 0.4), 0.03, 0.9)
    canvas.body((0.36, middle), (0.3, 0.4), 0.4)
    canvas.body((0.7, middle - 0.22), (0.2, 0.16), 0.6)
    for at in range(6):
        canvas.body((0.66 + 0.07 * at, middle + 0.1 + 0.01 * at), (0.03, 0.05), 0.6)
    canvas.body((0.45, middle - 0.25), (0.05, 0.06), -0.4)


def abdomen(canvas: Canvas) -> None:
    """Draw an abdomen: spine, pelvis, gas."""
    middle = 0.5 + canvas.shake(0.03)
    canvas.body((0.5, middle), (0.9, 0.5), 0.9)
    for at in range(7):
        canvas.body((0.05 + 0.1 * at, middle), (0.045, 0.06), 0.5)
    for side in (-1, 1):
        canvas.body((0.74, middle + side * 0.24), (0.17, 0.15), 0.45, tilt=side * 0.5)
        canvas.body((0.92, middle + side * 0.2), (0.06, 0.06), 0.5)
        canvas.rod((0.95, middle + side * 0.28), (1.1, middle + side * 0.32), 0.05, 0.8)
    for _ in range(12):
        half = canvas.random.uniform(0.02, 0.06)
        canvas.body((canvas.random.uniform(0.15, 0.7), middle + canvas.shake(0.33)), (half, 1.5 * half), -0.25)


def lateral_chest(canvas: Canvas) -> None:
    """Draw a chest from the side: spine behind, breastbone in front, the heart between them."""
    turn = 1 if canvas.random.random() < 0.5 else -1
    canvas.body((0.55, 0.5), (0.75, 0.42), 1.1)
    canvas.body((0.42, 0.5 + 0.02 * turn), (0.36, 0.28), -0.6)
    canvas.body((0.58, 0.5 - 0.13 * turn), (0.16, 0.15), 0.5)
    canvas.body((0.95, 0.5), (0.22, 0.4), 0.6)
    for at in range(11):
        canvas.body((0.02 + 0.09 * at, 0.5 + turn * (0.24 + 0.03 * np.sin(at / 3))), (0.04, 0.05), 0.45)
    for at in range(8):
        start, end = (0.08 + 0.09 * at, 0.5 + 0.3 * turn), (0.2 + 0.09 * at, 0.5 - 0.28 * turn)
        canvas.rod(start, end, 0.014, 0.22)
    canvas.rod((0.1, 0.5 - 0.3 * turn), (0.6, 0.5 - 0.36 * turn), 0.02, 0.4)
    canvas.rod((0.0, 0.5 - 0.2 * turn), (0.12, 0.5), 0.07, 0.5)


def foot(canvas: Canvas) -> None:
    """Draw a foot from the side."""
    canvas.rod((-0.1, 0.7), (0.6, 0.68), 0.12, 0.5)
    canvas.body((0.72, 0.5), (0.13, 0.4), 0.45)
    canvas.rod((-0.1, 0.7), (0.55, 0.68), 0.05, 0.9)
    canvas.body((0.72, 0.78), (0.09, 0.12), 0.7)
    canvas.body((0.64, 0.62), (0.06, 0.1), 0.7)
    for at in range(5):
        canvas.rod((0.7 + 0.015 * at, 0.5), (0.8, 0.14 + 0.03 * at + canvas.shake(0.01)), 0.016, 0.4)


FILMS: dict[str, Callable[[Canvas], None]] = {
    "hand": hand,
    "knee": knee,
    "skull": skull,
    "skull, lateral": skull_lateral,
    "abdomen": abdomen,
    "chest, lateral": lateral_chest,
    "foot": foot,
}


def draw(part: str, seed: int) -> NDArray[np.uint8]:
    """Draw a part of the body, one of `FILMS`; each seed gives another film."""
    canvas = Canvas(seed)
    FILMS[part](canvas)
    return canvas.picture()
