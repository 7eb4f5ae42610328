"""Draw one synthetic chest radiograph.

The image is a projection: depths of air, soft tissue and bone are added along the beam and converted to grey levels.
The class decides only whether the lungs hold opacities; pose, exposure and grain have the same distribution for both.

Coordinates: x to the right and y downwards, both from -1 to 1 across the image, seen from the front, so that the
heart's apex is on the right of the image. Depths are in shares of the soft tissue of the trunk.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumonia.data.phantom.rendering import Plane, expose, grid, marker, noise, step

PATTERNS = ("lobar", "patchy", "interstitial")
"""The patterns of pneumonia: one dense lobe, several patches, or fine markings around both hila."""
_SHARES = (0.4, 0.35, 0.25)
_SUBTLE = 0.15  # of the images with opacities
_VISIBLE = 0.08  # of the air that opacities replace at least


@dataclass(frozen=True)
class Anatomy:
    """The properties that are equal in two images of one patient; lengths in half sides of the image."""

    width: float  # thorax at its base, half
    top: float  # y of the apices
    base: float  # y of the angles between diaphragm and side
    taper: float  # exponent of the thorax's outline
    heart: float  # scale of the heart
    tilt: float  # of the heart's axis, radians
    bend: float  # of the spine
    spacing: float  # of the ribs behind
    drop: float  # of a rib behind, from spine to side
    bone: float  # density of the bones
    fat: float  # thickness of the chest wall
    mediastinum: float  # half width above the heart
    markings: float  # strength of the vessels
    dome: float  # height of the diaphragm's domes
    stomach: float  # size of its bubble of air
    air: float  # depth of the lungs

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Anatomy:
        """Draw a patient."""

        def between(low: float, high: float) -> float:
            return float(rng.uniform(low, high))

        return cls(
            width=between(0.66, 0.88),
            top=between(-0.92, -0.68),
            base=between(0.55, 0.82),
            taper=between(1.7, 2.6),
            heart=between(0.8, 1.3),
            tilt=between(0.3, 0.8),
            bend=between(-0.06, 0.06),
            spacing=between(0.14, 0.2),
            drop=between(0.2, 0.42),
            bone=between(0.7, 1.3),
            fat=between(0.04, 0.14),
            mediastinum=between(0.1, 0.18),
            markings=between(0.6, 1.5),
            dome=between(0.14, 0.3),
            stomach=between(-0.05, 0.2),
            air=between(0.54, 0.76),
        )

    @property
    def diaphragm_top(self) -> float:
        """The y of the top of the diaphragm's domes."""
        return self.base - self.dome

    def wall(self, y: Plane) -> Plane:
        """Return the half width of the thorax's inside at height y."""
        share = np.clip((self.base - y) / (self.base - self.top), 0, 1)
        wall: Plane = self.width * np.sqrt(np.maximum(1 - share**self.taper, 1e-4))
        return wall


@dataclass(frozen=True)
class _Frame:
    """The image's pixels in the patient's coordinates."""

    x: Plane
    y: Plane
    side: Plane  # distance from the spine
    wall: Plane  # half width of the thorax here

    @classmethod
    def draw(cls, anatomy: Anatomy, rng: np.random.Generator, size: int) -> _Frame:
        """Rotate, shift, stretch and slightly bend the patient at random."""
        x, y = grid(size)
        angle = float(rng.normal(0, 0.05))
        cosine, sine = float(np.cos(angle)), float(np.sin(angle))
        scale, aspect = float(rng.uniform(0.88, 1.14)), float(rng.uniform(0.9, 1.12))
        right, down = float(rng.normal(0, 0.05)), float(rng.normal(0.02, 0.06))
        u = (cosine * x + sine * y - right) / (scale * aspect) + 0.012 * noise(rng, size, 6)
        v = (cosine * y - sine * x - down) / scale * aspect + 0.012 * noise(rng, size, 6)
        u = u - anatomy.bend * np.sin(2.2 * v + 0.4)
        return cls(u, v, np.abs(u), anatomy.wall(v))


def draw_image(anatomy: Anatomy, opaque: bool, rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """Draw one image of a patient.

    Args:
        anatomy: the patient.
        opaque: the lungs hold opacities.
        rng: draws pose, exposure, grain and opacities.
        size: side in pixels, at least 32.

    Returns:
        uint8 [size, size], 0 black.
    """
    frame = _Frame.draw(anatomy, rng, size)
    lungs, abdomen = _lungs(anatomy, frame, rng)
    heart = _heart(anatomy, frame)
    air = lungs * (1 - 0.9 * heart)
    depth = _trunk(anatomy, frame, rng)
    depth += 0.12 * heart + 0.1 * abdomen - anatomy.air * air
    depth += anatomy.bone * _bones(anatomy, frame, abdomen, rng)
    depth += air * anatomy.markings * _markings(frame, rng, size)
    if opaque:
        depth += anatomy.air * _infiltrate(anatomy, frame, air, rng, size)
    depth -= _stomach(anatomy, frame) * abdomen
    return expose(np.maximum(depth, 0.01) + marker(rng, size), rng)


def _lungs(anatomy: Anatomy, frame: _Frame, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """Return the share of air in the lungs, and the share of abdomen below the diaphragm's domes."""
    breath, higher = float(rng.uniform(-0.14, 0.06)), float(rng.uniform(0.02, 0.06))
    across = (frame.side - 0.5 * anatomy.width) / (0.62 * anatomy.width)
    dome = anatomy.base + breath - anatomy.dome * (1 - across * across) + higher * np.tanh(frame.x * 8)
    below = step(frame.y - dome, 0.015)
    inner: Plane = anatomy.mediastinum + 0.06 * np.abs(frame.y + 0.1)
    air = step(frame.wall - frame.side, 0.02) * step(frame.side - inner, 0.03) * (1 - below)
    thickness = 0.7 + 0.3 * step(frame.y - anatomy.top - 0.3, 0.35)  # the apices are thin
    return air * thickness, below * step(frame.wall + 0.02 - frame.side, 0.03)


def _heart(anatomy: Anatomy, frame: _Frame) -> Plane:
    """Return the shadow of ventricles, right atrium and great vessels, 0 to 1."""
    s, bottom = anatomy.heart, anatomy.diaphragm_top
    cosine, sine = float(np.cos(anatomy.tilt)), float(np.sin(anatomy.tilt))
    u, v = frame.x - 0.12 * s, frame.y - (bottom - 0.17 * s)
    across, along = cosine * u - sine * v, sine * u + cosine * v
    ventricles = step(1 - (across / (0.25 * s)) ** 2 - (along / (0.42 * s)) ** 2, 0.14)
    u, v = frame.x + 0.03, frame.y - (bottom - 0.22 * s)
    atrium = step(1 - (u / (0.21 * s)) ** 2 - (v / (0.36 * s)) ** 2, 0.2)
    u, v = frame.x - 0.03, frame.y - (bottom - 0.6 * s)
    vessels = step(1 - (u / (0.1 + 0.1 * s)) ** 2 - (v / 0.4) ** 2, 0.3)
    return np.maximum(np.maximum(ventricles, atrium), 0.9 * vessels)


def _trunk(anatomy: Anatomy, frame: _Frame, rng: np.random.Generator) -> Plane:
    """Return the soft tissue of trunk, neck, shoulders and arms."""
    y, side, top = frame.y, frame.side, anatomy.top
    skin = np.maximum(frame.wall, 0.8 * anatomy.width) + anatomy.fat + 0.05
    slope = y - top + 0.3 - 0.55 * side  # from the neck down to the shoulders
    torso = np.sqrt(np.clip(1 - (side / skin) ** 4, 0, 1)) * step(slope, 0.1)
    neck = 0.75 * np.sqrt(np.clip(1 - (side / 0.3) ** 2, 0, 1)) * step(top + 0.4 - y, 0.2)
    shoulder = 0.55 * step(slope, 0.07) * step(anatomy.width + 0.3 - side, 0.2) * step(top + 0.6 - y, 0.3)
    arms = np.maximum(_arm(anatomy, frame, -1, rng), _arm(anatomy, frame, 1, rng))
    tissue: Plane = np.maximum(np.maximum(torso, neck), np.maximum(shoulder, arms))
    return tissue


def _arm(anatomy: Anatomy, frame: _Frame, sign: int, rng: np.random.Generator) -> Plane:
    """Return an arm that hangs or is lifted, with its bone; visible where the image is wide enough."""
    x, y = sign * frame.x, frame.y
    from_x, from_y = anatomy.width + anatomy.fat - 0.02, anatomy.top + 0.22
    reach, rise = float(rng.uniform(0.1, 0.4)), float(rng.choice([-1.2, 1.3]))
    length = reach * reach + rise * rise
    share = np.clip(((x - from_x) * reach + (y - from_y) * rise) / length, 0, 1)
    gap = (x - from_x - share * reach) ** 2 + (y - from_y - share * rise) ** 2
    flesh: Plane = 0.6 * np.sqrt(np.clip(1 - gap / 0.04, 0, 1))
    return flesh + 0.2 * anatomy.bone * step(0.0035 - gap, 0.002)


def _bones(anatomy: Anatomy, frame: _Frame, abdomen: Plane, rng: np.random.Generator) -> Plane:
    """Return spine, posterior and anterior ribs, and clavicles."""
    y, side = frame.y, frame.side
    vertebra: Plane = 0.65 + 0.35 * np.cos(y * (2 * np.pi / (0.8 * anatomy.spacing)))
    spine: Plane = vertebra * (0.26 * step(0.085 - side, 0.025) + 0.08 * step(0.15 - side, 0.03))
    r = side / np.maximum(frame.wall, 0.05)
    turns = (y - anatomy.top - anatomy.drop * r * r) * (2 * np.pi / anatomy.spacing)
    behind: Plane = np.clip(np.cos(turns) * 1.5 + 0.2, 0, 1)
    lift, start = float(rng.uniform(0.3, 0.55)), float(rng.uniform(0, 6.3))
    turns = (y + lift * (r - 1)) * (2 * np.pi / (1.35 * anatomy.spacing)) + start
    front: Plane = np.clip(np.cos(turns) * 1.5 - 0.1, 0, 1) * step(r - 0.5, 0.12)
    cage = step(1.03 - r, 0.03) * step(y - anatomy.top, 0.05) * (1 - 0.75 * abdomen)
    rim = np.clip(1 - np.abs(frame.wall - side) / 0.045, 0, 1)
    ribs: Plane = cage * (behind * (0.1 + 0.22 * rim) + 0.045 * front)
    return spine + ribs + _clavicles(anatomy, frame, rng)


def _clavicles(anatomy: Anatomy, frame: _Frame, rng: np.random.Generator) -> Plane:
    """Return both clavicles, each at its own angle."""
    drop, side = float(rng.uniform(0.2, 0.42)), frame.side
    right, left = rng.uniform(0.1, 0.45, size=2).astype(np.float32)
    tilt = np.where(frame.x < 0, right, left)
    line: Plane = anatomy.top + drop - tilt * (side - 0.1) - 0.035 * np.sin(7 * side)
    band = np.clip(1 - ((frame.y - line) / 0.045) ** 2, 0, 1)
    bones: Plane = 0.2 * band * step(side - 0.09, 0.04) * step(anatomy.width - 0.04 - side, 0.08)
    return bones


def _markings(frame: _Frame, rng: np.random.Generator, size: int) -> Plane:
    """Return the vessels, a branching texture that thins out from the hila, and the hila themselves."""
    near = np.exp(-7 * ((frame.side - 0.2) ** 2 + 0.6 * (frame.y - 0.02) ** 2))
    ridges = 0.8 - 0.4 * np.abs(noise(rng, size, 18)) - 0.6 * np.abs(noise(rng, size, 40))
    hila = np.exp(-130 * (frame.side - 0.19) ** 2 - 40 * frame.y**2)
    markings: Plane = (0.03 + 0.08 * near) * ridges + 0.14 * hila
    return markings


def _stomach(anatomy: Anatomy, frame: _Frame) -> Plane:
    """Return the bubble of air below the left dome, which most patients have."""
    size = max(anatomy.stomach, 1e-3)
    u, v = (frame.x - 0.42 * anatomy.width) / (1.5 * size), (frame.y - anatomy.base + 0.3 * anatomy.dome) / size
    return 0.25 * step(1 - u * u - v * v, 0.3) if anatomy.stomach > 0 else np.zeros_like(frame.y)


def _infiltrate(anatomy: Anatomy, frame: _Frame, air: Plane, rng: np.random.Generator, size: int) -> Plane:
    """Return the depth of lost air; drawn again where too little of it is inside the lungs to be visible."""
    lost: Plane = air * _opacities(anatomy, frame, rng, size)
    while lost.sum() < _VISIBLE * air.sum():
        lost = air * _opacities(anatomy, frame, rng, size)
    return lost


def _opacities(anatomy: Anatomy, frame: _Frame, rng: np.random.Generator, size: int) -> Plane:
    """Return the share of the air that pneumonia replaces, 0 to 1; it is used only inside the lungs."""
    texture = noise(rng, size, 18)
    pattern = PATTERNS[rng.choice(len(PATTERNS), p=_SHARES)]
    subtle = rng.random() < _SUBTLE
    density = float(rng.uniform(0.3, 0.55) if subtle else rng.uniform(0.65, 1))
    if pattern == "interstitial":
        far = (frame.side - 0.25) ** 2 + 0.7 * (frame.y - 0.1) ** 2
        veil = np.exp(-float(rng.uniform(3, 7)) * far)
        return density * np.clip(veil * (0.7 + 0.35 * texture), 0, 1)
    lobar = pattern == "lobar"
    field, ragged = np.zeros_like(texture), 0.4 * noise(rng, size, 9)
    for _ in range(1 if lobar else rng.integers(3, 8)):
        spot = _spot(anatomy, frame, rng, ragged, lobar)
        field = np.maximum(field, spot * float(rng.uniform(0.7, 1)))
    return density * np.clip(field * (0.95 + (0.15 if lobar else 0.35) * texture), 0, 1)


def _spot(anatomy: Anatomy, frame: _Frame, rng: np.random.Generator, ragged: Plane, lobar: bool) -> Plane:
    """Return one opacity with a soft, ragged edge and its centre inside a lung; a fissure may bound a large one."""
    sign = float(rng.choice([-1, 1]))
    at_y = float(rng.uniform(anatomy.top + 0.35, anatomy.diaphragm_top - 0.08))
    half = float(anatomy.wall(np.full(1, at_y))[0])
    # The heart hides opacities near the middle, more so in the left lung.
    beside_heart = at_y > anatomy.diaphragm_top - 0.6
    inner = anatomy.mediastinum + ((0.26 if sign > 0 else 0.12) if beside_heart else 0.06)
    at_x = sign * float(rng.uniform(min(inner, half - 0.14), half - 0.1))
    wide, tall = (float(value) for value in rng.uniform(*((0.26, 0.45) if lobar else (0.12, 0.28)), size=2))
    turn = float(rng.uniform(-0.7, 0.7))
    u, v = frame.x - at_x, frame.y - at_y
    distance = ((u + turn * v) / wide) ** 2 + ((v - turn * u) / tall) ** 2
    spot = step(1 - distance + ragged, float(rng.uniform(0.45, 0.9)))
    if lobar and rng.random() < 0.5:
        spot = spot * step(v + 0.3 * tall - 0.25 * sign * u, 0.03)
    return spot
