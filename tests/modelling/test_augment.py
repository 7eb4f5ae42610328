"""Augmentation: what is off changes nothing, what is on does what its name says, film by film."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from pneumonia.config.schema import AugmentConfig
from pneumonia.data.phantom.dataset import render
from pneumonia.modelling.augment import augment, compress, warp

OFF = AugmentConfig(flip=0, rotation=0, brightness=0, contrast=0)
WILD = AugmentConfig(
    flip=0.5,
    rotation=180,
    scale=0.9,
    aspect=0.9,
    shift=1,
    brightness=1,
    contrast=1,
    gamma=0.9,
    blur=5,
    noise=1,
    jpeg=30,
)
SINGLE = [
    ("flip", 1.0),
    ("rotation", 20.0),
    ("scale", 0.3),
    ("aspect", 0.3),
    ("shift", 0.2),
    ("brightness", 0.3),
    ("contrast", 0.3),
    ("gamma", 0.3),
    ("blur", 2.0),
    ("jpeg", 5),
    ("noise", 0.1),
]


def only(**changes: float) -> AugmentConfig:
    return OFF.model_copy(update=changes)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def films(count: int = 6, side: int = 24, seed: int = 1) -> Tensor:
    return torch.rand(count, side, side, generator=generator(seed))


def smooth(count: int = 3, side: int = 32) -> Tensor:
    """Films without detail finer than a pixel, so that resampling loses nothing to speak of; black at the border."""
    x = torch.linspace(-1, 1, side)
    blob = torch.exp(-((x[None, :] - 0.2) ** 2) / 0.05 - ((x[:, None] + 0.1) ** 2) / 0.1)
    return blob.repeat(count, 1, 1)


def numbers(*values: float) -> Tensor:
    return torch.tensor(values).reshape(-1, 1, 1)


def plain(count: int) -> dict[str, Tensor | tuple[Tensor, Tensor]]:
    """Arguments of `warp` that leave films as they are."""
    one, nothing = torch.ones(count, 1, 1), torch.zeros(count, 1, 1)
    return {"flip": one, "angle": nothing, "extent": (one, one), "shift": (nothing, nothing)}


def test_all_off_is_the_identity() -> None:
    images = films()
    assert torch.equal(augment(images, OFF, generator()), images)


@pytest.mark.parametrize(("change", "extent"), SINGLE)
def test_each_change_changes_every_film_in_its_own_way(change: str, extent: float) -> None:
    images = smooth(8) * 0.5 + 0.25
    changed = augment(images, only(**{change: extent}), generator())
    assert changed.shape == images.shape
    assert changed.dtype == torch.float32
    assert all(not torch.equal(before, after) for before, after in zip(images, changed, strict=True))
    distinct = len({film.numpy().tobytes() for film in changed})
    assert distinct == (1 if change == "flip" else 8)


@pytest.mark.parametrize("config", [WILD, *[only(**{change: extent}) for change, extent in SINGLE]])
def test_the_films_given_are_left_alone(config: AugmentConfig) -> None:
    images = films()
    before = images.clone()
    augment(images, config, generator())
    assert torch.equal(images, before)


def test_films_do_not_see_one_another() -> None:
    images = films()
    other = images.clone()
    other[2] = 0.5
    near = WILD.model_copy(update={"shift": 0.2})  # no film may leave the frame
    first, second = augment(images, near, generator()), augment(other, near, generator())
    assert not torch.equal(first[2], second[2])
    for row in (0, 1, 3, 4, 5):
        assert torch.equal(first[row], second[row])


def test_the_generator_decides_and_nothing_else() -> None:
    images = films()
    torch.manual_seed(1)
    first = augment(images, WILD, generator(3))
    torch.manual_seed(2)
    np.random.seed(2)
    assert torch.equal(augment(images, WILD, generator(3)), first)
    assert not torch.equal(augment(images, WILD, generator(4)), first)


def test_a_generator_gives_the_next_batch_other_changes() -> None:
    images, source = films(), generator()
    assert not torch.equal(augment(images, WILD, source), augment(images, WILD, source))


@pytest.mark.parametrize("seed", range(20))
def test_values_stay_in_range(seed: int) -> None:
    images = (films(8, 20, seed) > 0.5).float()  # black and white reach every limit
    changed = augment(images, WILD, generator(seed))
    assert bool(changed.isfinite().all())
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 1


def test_a_certain_flip_mirrors() -> None:
    images = films()
    torch.testing.assert_close(augment(images, only(flip=1.0), generator()), images.flip(-1), atol=1e-5, rtol=0)


def test_a_flip_comes_as_often_as_it_should() -> None:
    images = films(400, 8)
    changed = augment(images, only(flip=0.25), generator())
    mirrored = (changed - images.flip(-1)).abs().amax(dim=(1, 2)) < 1e-4
    untouched = (changed - images).abs().amax(dim=(1, 2)) < 1e-4
    assert bool((mirrored ^ untouched).all())
    assert 70 <= int(mirrored.sum()) <= 130  # 100 expected, deviation 8.7


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_quarter_turn_is_exact(quarters: int) -> None:
    images = films()
    turned = warp(images, **(plain(6) | {"angle": numbers(*[quarters * math.pi / 2] * 6)}))
    torch.testing.assert_close(turned, images.rot90(quarters, dims=(1, 2)), atol=1e-5, rtol=0)


def test_rotation_stays_within_its_angle() -> None:
    side, count = 65, 200
    images = torch.zeros(count, side, side)
    images[:, side // 2 - 1 : side // 2 + 2, -13:-10] = 1  # a mark right of the centre, 21 pixels away
    turned = augment(images, only(rotation=30), generator())
    x = torch.arange(side) - side // 2
    mass = turned.sum(dim=(1, 2))
    right, down = (turned.sum(1) * x).sum(1) / mass, (turned.sum(2) * x).sum(1) / mass
    angles = torch.rad2deg(torch.atan2(-down, right))
    assert float(angles.abs().max()) <= 30.5
    assert float(angles.max()) > 25
    assert float(angles.min()) < -25
    torch.testing.assert_close(torch.hypot(right, down), torch.full((count,), 21.0), atol=0.2, rtol=0)


def test_a_shift_by_whole_pixels_is_exact() -> None:
    images = films(1, 20)
    moved = warp(images, **(plain(1) | {"shift": (numbers(2 * 3 / 20), numbers(-2 * 2 / 20))}))
    expected = torch.zeros_like(images)
    expected[:, 2:, :-3] = images[:, :-2, 3:]  # the frame went right and up, the film left and down; black follows
    torch.testing.assert_close(moved, expected, atol=1e-5, rtol=0)


def test_shift_stays_within_its_share_of_the_side() -> None:
    side = 41
    images = torch.zeros(300, side, side)
    images[:, side // 2, side // 2] = 1
    moved = augment(images, only(shift=0.2), generator())
    x = torch.arange(side) - side // 2
    mass = moved.sum(dim=(1, 2))
    for extent in ((moved.sum(1) * x).sum(1) / mass, (moved.sum(2) * x).sum(1) / mass):
        assert 0.9 * 0.2 * side < float(extent.abs().max()) <= 0.2 * side + 1e-3


def test_a_wide_frame_makes_the_film_narrow() -> None:
    images = smooth(1, 64)
    shown = warp(images, **(plain(1) | {"extent": (numbers(1.5), numbers(0.75))}))[0]
    across, along = images[0].sum(0), images[0].sum(1)
    x = torch.linspace(-1, 1, 64)

    def deviation(profile: Tensor) -> float:
        mean = (profile * x).sum() / profile.sum()
        return float(((profile * (x - mean) ** 2).sum() / profile.sum()).sqrt())

    assert deviation(shown.sum(0)) == pytest.approx(deviation(across) / 1.5, rel=0.03)
    assert deviation(shown.sum(1)) == pytest.approx(deviation(along) / 0.75, rel=0.03)


def test_warping_agrees_with_torchs_own_grid() -> None:
    count, source = 16, generator()
    images = torch.rand(count, 20, 28, generator=source)
    flip = torch.where(torch.rand(count, 1, 1, generator=source) < 0.5, -1.0, 1.0)
    angle, wide, high, right, down = torch.rand(5, count, 1, 1, generator=source) + 0.3
    rows = [
        [flip * angle.cos() * wide, -angle.sin() * wide, right],
        [flip * angle.sin() * high, angle.cos() * high, down],
    ]
    matrix = torch.stack([torch.cat([cell.reshape(-1, 1) for cell in row], 1) for row in rows], 1)
    grid = F.affine_grid(matrix, [count, 1, 20, 28], align_corners=False)
    expected = F.grid_sample(images.unsqueeze(1), grid, align_corners=False).squeeze(1)
    torch.testing.assert_close(warp(images, flip, angle, (wide, high), (right, down)), expected, atol=1e-5, rtol=0)


def test_brightness_scales_all_of_a_film_alike() -> None:
    images = films() * 0.5 + 0.1
    changed = augment(images, only(brightness=0.3), generator())
    factor = changed / images
    torch.testing.assert_close(factor, factor[:, :1, :1].expand_as(factor))
    assert float((factor[:, 0, 0] - 1).abs().max()) <= 0.3


def test_contrast_keeps_the_mean() -> None:
    images = films() * 0.2 + 0.4
    changed = augment(images, only(contrast=0.3), generator())
    torch.testing.assert_close(changed.mean(dim=(1, 2)), images.mean(dim=(1, 2)))
    ratio = changed.std(dim=(1, 2)) / images.std(dim=(1, 2))
    assert float((ratio - 1).abs().max()) <= 0.3
    assert ratio.unique().numel() == len(images)


def test_gamma_keeps_white_and_the_order_of_greys() -> None:
    images = torch.linspace(0.1, 1, 100).reshape(1, 10, 10).repeat(8, 1, 1)
    changed = augment(images, only(gamma=0.5), generator())
    torch.testing.assert_close(changed[:, -1, -1], torch.ones(8))
    assert bool((changed.reshape(8, -1).diff() > 0).all())
    exponents = changed[:, 0, 0].log() / math.log(0.1)
    assert float((exponents - 1).abs().max()) <= 0.5


def test_blur_keeps_a_flat_film_and_takes_detail_from_others() -> None:
    flat = torch.full((4, 16, 16), 0.7)
    torch.testing.assert_close(augment(flat, only(blur=3.0), generator()), flat)
    images = films(16, 32)
    blurred = augment(images, only(blur=3.0), generator())
    assert bool((blurred.std(dim=(1, 2)) <= images.std(dim=(1, 2)) + 1e-6).all())
    assert float(blurred.std(dim=(1, 2)).min()) < 0.2 * float(images.std())


def test_noise_has_the_strength_it_is_given() -> None:
    images = torch.full((500, 16, 16), 0.5)
    strength = (augment(images, only(noise=0.08), generator()) - images).std(dim=(1, 2))
    assert float(strength.max()) <= 0.08 * 1.15  # of 256 values a film
    assert float(strength.mean()) == pytest.approx(0.04, rel=0.1)


@pytest.mark.parametrize("quality", [10, 30, 75, 95])
def test_compression_is_that_of_the_jpeg_encoder(quality: int) -> None:
    film = render(1, np.random.default_rng(4), 100)  # no multiple of eight
    file = io.BytesIO()
    Image.fromarray(film).save(file, "JPEG", quality=quality)
    encoded = np.array(Image.open(file)).astype(float)
    ours = compress(torch.from_numpy(film[None]).float() / 255, torch.full((1, 1, 1), float(quality)))[0].numpy() * 255
    lost = np.abs(encoded - film).mean()
    assert np.abs(ours - encoded).mean() < 0.35 + 0.2 * lost, "but for rounding, where a step is met in the middle"
    assert lost > 0.5
