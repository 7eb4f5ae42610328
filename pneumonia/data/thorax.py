"""Draws one synthetic chest radiograph.

A film is made the way an X-ray makes one: depths of air, soft tissue and bone are added along the beam and turned into
grey levels. The class decides one thing only, whether the lungs hold opacities: pose, exposure and noise are drawn
alike for both, and every film is brought to a mean and a spread drawn without regard to its class.

Coordinates: x to the right and y downwards, both from -1 to 1 across the film, seen from the front, so that the heart's
apex lies on the right of the picture. Depths are in shares of the depth of the trunk's soft tissue.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
"""One value a pixel, [size, size]."""

PATTERNS = ("lobar", "patchy", "interstitial")
"""How pneumonia shows itself: one dense lobe, several patches, or fine markings about both hila."""


@dataclass(frozen=True)
class Anatomy:
    """What stays the same between two films of one patient; lengths in half sides of the film."""

    width: float  # thorax at its base, half
    top: float  # y of the apices
    base: float  # y of the lateral costophrenic angles
    taper: float  # exponent of the thorax's outline
    heart: float  # scale of the heart
    spine: float  # bend of the spine
    spacing: float  # of the posterior ribs
    ribs: float  # drop of a posterior rib from spine to side
    bone: float  # density of the bones
    fat: float  # of the chest wall, thickness
    mediastinum: float  # half width above the heart
    markings: float  # strength of the vessels
    dome: float  # height of the diaphragm's domes
    stomach: float  # size of its bubble of air

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Anatomy:
        """Draw a patient."""

        def between(low: float, high: float) -> float:
            return float(rng.uniform(low, high))

        return cls(
            width=between(0.66, 0.88),
            top=between(-0.84, -0.62),
            base=between(0.55, 0.82),
            taper=between(1.9, 3.0),
            heart=between(0.8, 1.25),
            spine=between(-0.06, 0.06),
            spacing=between(0.13, 0.19),
            ribs=between(0.2, 0.42),
            bone=between(0.7, 1.3),
            fat=between(0.04, 0.14),
            mediastinum=between(0.1, 0.19),
            markings=between(0.6, 1.5),
            dome=between(0.14, 0.3),
            stomach=between(0.0, 0.2),
        )


def film(anatomy: Anatomy, opaque: bool, rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """Take one film of a patient.

    Args:
        anatomy: the patient.
        opaque: the lungs hold opacities.
        rng: draws pose, exposure, noise and opacities.
        size: side in pixels.

    Returns:
        uint8 [size, size], 0 black.
    """
    x, y = _pose(rng, size)
    x = x - anatomy.spine * np.sin(2.2 * y + 0.4)
    side = np.abs(x)
    wall = _wall(anatomy, y)
    lungs, abdomen = _lungs(anatomy, x, y, side, wall, rng)
    heart = _heart(anatomy, x, y)
    air = lungs * (1 - 0.92 * heart)
    depth = _trunk(anatomy, x, y, side, wall, rng)
    depth += 0.1 * heart + 0.08 * abdomen - 0.62 * air
    depth += anatomy.bone * _bones(anatomy, x, y, side, wall, air, rng)
    depth += air * anatomy.markings * _markings(x, y, side, rng, size)
    if opaque:
        depth += 0.62 * air * _opacities(x, y, side, wall, anatomy, rng, size)
    depth = np.maximum(depth, 0.02) + _marker(rng, size)
    return _expose(depth, rng, size)


def _step(value: Plane, softness: float) -> Plane:
    """0 below, 1 above zero, over about twice `softness`: the cubic smoothstep."""
    t = np.clip(value * (0.5 / softness) + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


@lru_cache(maxsize=4)
def _grid(size: int) -> tuple[Plane, Plane]:
    axis = ((np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1).astype(np.float32)
    return axis[None, :], axis[:, None]


@lru_cache(maxsize=32)
def _spread(size: int, cells: int) -> Plane:
    """Matrix [size, cells] that spreads a coarse row smoothly over `size` pixels (quadratic B-spline)."""
    at = (np.arange(size) + 0.5) * ((cells - 2) / size) + 0.5
    gap = np.abs(at[:, None] - np.arange(cells)[None, :])
    weight = np.where(gap < 0.5, 0.75 - gap**2, 0.5 * np.clip(1.5 - gap, 0, None) ** 2)
    return weight.astype(np.float32)


def _noise(rng: np.random.Generator, size: int, cells: int) -> Plane:
    """Smooth noise of about `cells` bumps a side, mean 0, spread about 1."""
    spread = _spread(size, cells)
    return (spread @ rng.standard_normal((cells, cells), dtype=np.float32) @ spread.T) * np.float32(1.65)


def _pose(rng: np.random.Generator, size: int) -> tuple[Plane, Plane]:
    """The film's coordinates in the patient's frame: turned, shifted, stretched and slightly bent."""
    x, y = _grid(size)
    angle = float(rng.normal(0, 0.045))
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    scale = float(rng.uniform(0.88, 1.14))
    aspect = float(rng.uniform(0.9, 1.12))
    right, down = float(rng.normal(0, 0.05)), float(rng.normal(0.02, 0.06))
    u = (cosine * x + sine * y - right) / (scale * aspect)
    v = (cosine * y - sine * x - down) / scale * aspect
    u = u + np.float32(rng.normal(0, 0.02)) * v * v  # a patient who leans
    return u.astype(np.float32), v.astype(np.float32)


def _wall(anatomy: Anatomy, y: Plane) -> Plane:
    """Half width of the thorax's inside at height y."""
    share = np.clip((anatomy.base - y) / (anatomy.base - anatomy.top), 0, 1)
    return anatomy.width * np.sqrt(np.maximum(1 - share**anatomy.taper, 1e-4)).astype(np.float32)


def _lungs(
    anatomy: Anatomy, x: Plane, y: Plane, side: Plane, wall: Plane, rng: np.random.Generator
) -> tuple[Plane, Plane]:
    """Share of air in the lungs, and the share of abdomen below the diaphragm's domes."""
    breath = float(rng.uniform(-0.06, 0.06))
    across = (side - 0.5 * anatomy.width) / (0.62 * anatomy.width)
    dome = anatomy.base + breath - anatomy.dome * (1 - across * across) + 0.05 * np.tanh(x * 8)
    below = _step(y - dome, 0.015)
    inner = anatomy.mediastinum + 0.05 * np.abs(y + 0.1)
    air = _step(wall - side, 0.02) * _step(side - inner, 0.025) * (1 - below)
    thickness = 0.75 + 0.25 * _step(y - anatomy.top - 0.25, 0.35)  # the apices are thin
    return air * thickness, below * _step(wall + 0.02 - side, 0.03)


def _heart(anatomy: Anatomy, x: Plane, y: Plane) -> Plane:
    """The heart's shadow with its right atrium and the great vessels, 0 to 1."""
    s = anatomy.heart
    bottom = anatomy.base - anatomy.dome
    u, v = x - 0.13 * s, y - (bottom - 0.22 * s)
    turned, along = 0.86 * u - 0.5 * v, 0.5 * u + 0.86 * v
    ventricles = _step(1 - (turned / (0.27 * s)) ** 2 - (along / (0.4 * s)) ** 2, 0.12)
    atrium = _step(1 - ((x + 0.06) / (0.22 * s)) ** 2 - ((y - bottom + 0.2 * s) / (0.27 * s)) ** 2, 0.14)
    vessels = _step(1 - ((x - 0.03) / (0.11 + 0.1 * s)) ** 2 - ((y - bottom + 0.62 * s) / 0.3) ** 2, 0.3)
    return np.maximum(np.maximum(ventricles, atrium), 0.85 * vessels)


def _trunk(anatomy: Anatomy, x: Plane, y: Plane, side: Plane, wall: Plane, rng: np.random.Generator) -> Plane:
    """Soft tissue of trunk, neck, shoulders and arms."""
    skin = np.maximum(wall, 0.55 * anatomy.width) + anatomy.fat + 0.05
    torso = np.clip(1 - (side / skin) ** 4, 0, 1) ** np.float32(0.5)
    torso = torso * _step(y - anatomy.top - 0.12 - 0.1 * side, 0.1)
    neck = 0.8 * np.sqrt(np.clip(1 - (side / 0.26) ** 2, 0, 1)) * _step(anatomy.top + 0.35 - y, 0.15)
    shoulder = 0.6 * _step(y - anatomy.top + 0.02 - 0.22 * side, 0.06) * _step(skin + 0.25 - side, 0.12)
    shoulder = shoulder * _step(anatomy.top + 0.5 - y, 0.3)
    arms = np.maximum(*(_arm(anatomy, sign * x, y, skin, rng) for sign in (-1, 1)))
    return np.maximum(np.maximum(torso, neck), np.maximum(shoulder, arms)) + 0.03


def _arm(anatomy: Anatomy, x: Plane, y: Plane, skin: Plane, rng: np.random.Generator) -> Plane:
    """An arm that hangs or is lifted, with its bone; seen where the film is wide enough."""
    from_x, from_y = anatomy.width + anatomy.fat + 0.08, anatomy.top + 0.16
    to_x, to_y = from_x + float(rng.uniform(0.0, 0.3)), from_y + float(rng.choice([-0.9, 1.2, 1.2]))
    length = (to_x - from_x) ** 2 + (to_y - from_y) ** 2
    share = np.clip(((x - from_x) * (to_x - from_x) + (y - from_y) * (to_y - from_y)) / length, 0, 1)
    gap = (x - from_x - share * (to_x - from_x)) ** 2 + (y - from_y - share * (to_y - from_y)) ** 2
    flesh = 0.5 * np.sqrt(np.clip(1 - gap / 0.025, 0, 1))
    return flesh + 0.22 * anatomy.bone * _step(0.003 - gap, 0.0015)


def _bones(
    anatomy: Anatomy, x: Plane, y: Plane, side: Plane, wall: Plane, air: Plane, rng: np.random.Generator
) -> Plane:
    """Spine, ribs behind and in front, clavicles."""
    vertebra = 0.7 + 0.3 * np.cos(y * (2 * np.pi / (0.8 * anatomy.spacing)))
    spine = 0.26 * vertebra * _step(0.085 - side, 0.02) + 0.1 * _step(0.14 - side, 0.03) * vertebra
    r = side / np.maximum(wall, 0.05)
    phase = (y - anatomy.top - anatomy.ribs * r * r) / anatomy.spacing
    behind = np.clip(np.cos(2 * np.pi * phase) * 1.6 + 0.35, 0, 1)
    lift = float(rng.uniform(0.25, 0.45))
    front_phase = (y - anatomy.top + lift * (r - 1) - 0.3) / (1.25 * anatomy.spacing)
    front = np.clip(np.cos(2 * np.pi * front_phase) * 1.6 + 0.1, 0, 1) * _step(r - 0.45, 0.15)
    cage = _step(1.04 - r, 0.03) * _step(y - anatomy.top, 0.05) * _step(anatomy.base + 0.12 - y, 0.1)
    rim = np.clip(1 - np.abs(wall + 0.01 - side) / 0.05, 0, 1)
    ribs = cage * (behind * (0.13 + 0.2 * rim) + 0.07 * front * (0.3 + air))
    return spine + ribs + _clavicles(anatomy, x, y, side, rng)


def _clavicles(anatomy: Anatomy, x: Plane, y: Plane, side: Plane, rng: np.random.Generator) -> Plane:
    drop = float(rng.uniform(0.05, 0.2))
    tilt = np.where(x < 0, rng.uniform(0.05, 0.3), rng.uniform(0.05, 0.3)).astype(np.float32)
    line = anatomy.top + drop - tilt * (side - 0.1) + 0.03 * np.sin(7 * side)
    band = np.clip(1 - np.abs(y - line) / 0.04, 0, 1)
    return 0.3 * np.sqrt(band) * _step(side - 0.09, 0.03) * _step(anatomy.width + 0.02 - side, 0.06)


def _markings(x: Plane, y: Plane, side: Plane, rng: np.random.Generator, size: int) -> Plane:
    """Vessels: a branching texture that thins out from the hila, and the hila themselves."""
    far = (side - 0.2) ** 2 + 0.6 * (y - 0.02) ** 2
    near = np.exp(-far * 7)
    ridges = sum(weight * (1 - np.abs(_noise(rng, size, cells))) for cells, weight in ((16, 0.5), (34, 0.5)))
    hila = np.exp(-((side - 0.19) ** 2) * 130 - (y - 0.0) ** 2 * 40)
    return (0.04 + 0.16 * near) * (ridges - 0.2) + 0.14 * hila


def _opacities(
    x: Plane, y: Plane, side: Plane, wall: Plane, anatomy: Anatomy, rng: np.random.Generator, size: int
) -> Plane:
    """Share of the air that pneumonia has replaced, 0 to 1; it counts only inside the lungs."""
    texture = _noise(rng, size, 18)
    pattern = PATTERNS[rng.choice(3, p=(0.4, 0.35, 0.25))]
    density = float(rng.uniform(0.4, 0.95))
    if pattern == "interstitial":
        far = (side - 0.22) ** 2 + 0.7 * (y - 0.1) ** 2
        veil = np.exp(-far * float(rng.uniform(4, 9)))
        return density * np.clip(veil * (0.6 + 0.35 * texture), 0, 1)
    field = np.zeros_like(texture)
    number = 1 if pattern == "lobar" else int(rng.integers(2, 6))
    reach = (0.2, 0.42) if pattern == "lobar" else (0.1, 0.24)
    for _ in range(number):
        spot = _spot(x, y, anatomy, rng, reach)
        if pattern == "lobar" and rng.random() < 0.6:  # a fissure bounds the lobe
            spot = spot * _step(y - float(rng.uniform(-0.15, 0.15)) - 0.25 * side, 0.03)
        field = np.maximum(field, spot * float(rng.uniform(0.7, 1)))
    roughness = 0.2 if pattern == "lobar" else 0.4
    return density * np.clip(field * (0.9 + roughness * texture), 0, 1)


def _spot(x: Plane, y: Plane, anatomy: Anatomy, rng: np.random.Generator, reach: tuple[float, float]) -> Plane:
    """One opacity with a soft edge, its centre inside a lung."""
    sign = float(rng.choice([-1, 1]))
    bottom = anatomy.base - anatomy.dome
    at_y = float(rng.uniform(anatomy.top + 0.3, bottom - 0.02))
    half = float(_wall(anatomy, np.array([[at_y]], dtype=np.float32))[0, 0])
    # The heart hides most of what lies near the middle of the left lung.
    inner = anatomy.mediastinum + (0.22 if sign > 0 and at_y > bottom - 0.55 else 0.06)
    at_x = sign * float(rng.uniform(min(inner, half - 0.12), half - 0.08))
    wide, tall = rng.uniform(*reach, size=2)
    turn = float(rng.uniform(-0.7, 0.7))
    u, v = (x - at_x) + turn * (y - at_y), (y - at_y) - turn * (x - at_x)
    distance = (u / float(wide)) ** 2 + (v / float(tall)) ** 2
    return _step(1 - distance, float(rng.uniform(0.25, 0.6)))


_LETTER = np.array([[1, 1, 1, 0], [1, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 0], [1, 0, 1, 0], [1, 0, 0, 1]], np.float32)


def _marker(rng: np.random.Generator, size: int) -> Plane:
    """The technician's lead letter, on most films."""
    plane = np.zeros((size, size), np.float32)
    scale = max(1, round(size * float(rng.uniform(0.006, 0.012))))
    top, left = int(size * rng.uniform(0.03, 0.4)), int(size * rng.uniform(0.01, 0.08))
    if rng.random() < 0.8:
        letter = np.kron(_LETTER, np.ones((scale, scale), np.float32))
        plane[top : top + letter.shape[0], left : left + letter.shape[1]] = 0.9 * letter
    return plane


def _expose(depth: Plane, rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """Grey levels: beam, film curve, grain, and a mean and spread drawn without regard to the class."""
    depth = depth * (1 + 0.08 * _noise(rng, size, 5))
    grey = 1 - np.exp(-float(rng.uniform(1.3, 2.2)) * depth)
    grey += float(rng.uniform(0.004, 0.02)) * rng.standard_normal((size, size), dtype=np.float32)
    mean, spread = rng.normal(122, 13), rng.normal(57, 5)
    for _ in range(3):  # clipping moves both: a few rounds settle them
        grey = np.clip((grey - grey.mean()) * (spread / grey.std()) + mean, 0, 255)
    return np.rint(grey).astype(np.uint8)
