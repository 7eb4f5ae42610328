"""Change images in ways that happen, in five strengths, and measure how far a model's metrics fall.

A change is made to the decoded grey image before the preprocessing, as a worse detector, exposure or archive would make
it. So that an amount means the same for every image, the image is first brought to `SIDE` pixels at its longer side,
with its own aspect ratio; the unchanged images that the others are compared with go the same way. Five strengths of
each kind are the form of Hendrycks and Dietterich (ICLR 2019, arXiv 1903.12261); the amounts are this project's, from
slight to gross. Not a medical device.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from pneumonia.config.schema import CLASSES, EvaluationConfig, PreprocessConfig
from pneumonia.imaging.preprocessing import equalize
from pneumonia.imaging.radiograph import read_bytes
from pneumonia.records.evaluation import Metric
from pneumonia.statistics.metrics import Scored
from pneumonia.statistics.parts import Part, part_metrics

SIDE = 512
"""Longer side of the image that is changed, pixels."""
IMAGES_PER_CLASS = 100
STRENGTHS = (1, 2, 3, 4, 5)
_FULL = 255

Grey = NDArray[np.uint8]
"""A decoded image, uint8 [H, W]."""


@dataclass(frozen=True)
class Change:
    """A kind of change.

    Attributes:
        name: of the change.
        amounts: of the five strengths.
        words: format of an amount, with its unit.
        apply: changes an image by an amount; the generator is for what is random.
    """

    name: str
    amounts: tuple[float, ...]
    words: str
    apply: Callable[[Grey, float, np.random.Generator], Grey]

    def amount(self, strength: int) -> str:
        """Return the amount of a strength, 1 to 5, in words."""
        return self.words.format(self.amounts[strength - 1])


def _noise(image: Grey, amount: float, rng: np.random.Generator) -> Grey:
    """Add Gaussian noise to every pixel."""
    return _levels(image + rng.normal(0, amount * _FULL, image.shape))


def _blur(image: Grey, amount: float, _rng: np.random.Generator) -> Grey:
    """Blur with a Gaussian."""
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(amount)))


def _contrast(image: Grey, amount: float, _rng: np.random.Generator) -> Grey:
    """Draw the grey levels together about their mean."""
    mean = float(image.mean())
    return _levels(mean + amount * (image.astype(np.float64) - mean))


def _compression(image: Grey, amount: float, _rng: np.random.Generator) -> Grey:
    """Save as JPEG and read again."""
    stored = io.BytesIO()
    Image.fromarray(image).save(stored, "JPEG", quality=int(amount))
    with Image.open(stored) as opened:
        return np.asarray(opened)


def _rotation(image: Grey, amount: float, rng: np.random.Generator) -> Grey:
    """Rotate about the middle, to the side that the generator says; the corners that become free are black."""
    angle = amount if rng.random() < 0.5 else -amount
    return np.asarray(Image.fromarray(image).rotate(angle, Image.Resampling.BILINEAR))


def _crop(image: Grey, amount: float, _rng: np.random.Generator) -> Grey:
    """Cut a margin off every side."""
    down, across = (round(amount * side) for side in image.shape)
    return image[down : image.shape[0] - down, across : image.shape[1] - across]


def _downscaling(image: Grey, amount: float, _rng: np.random.Generator) -> Grey:
    """Reduce the longer side to a number of pixels; the preprocessing enlarges again."""
    share = amount / max(image.shape)
    size = max(1, round(image.shape[1] * share)), max(1, round(image.shape[0] * share))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


CHANGES = (
    Change("noise", (0.02, 0.04, 0.08, 0.12, 0.2), "standard deviation {:.0%} of full scale", _noise),
    Change("blur", (1, 2, 3, 4.5, 6), f"Gaussian of {{:g}} of {SIDE} pixels", _blur),
    Change("contrast", (0.8, 0.6, 0.4, 0.25, 0.15), "{:.0%} of the contrast", _contrast),
    Change("compression", (50, 30, 15, 8, 4), "JPEG of quality {:g}", _compression),
    Change("rotation", (3, 6, 10, 15, 25), "{:g} degrees to either side", _rotation),
    Change("crop", (0.02, 0.05, 0.08, 0.12, 0.18), "{:.0%} off every side", _crop),
    Change("downscaling", (192, 128, 96, 64, 48), "longer side of {:g} pixels", _downscaling),
)


def grey_image(content: bytes, name: str = "<bytes>") -> Grey:
    """Decode a file's content to grey levels uint8 [H, W], `SIDE` pixels at the longer side.

    Raises:
        UnreadableRadiograph: see `pneumonia.imaging.radiograph.read_bytes`.
    """
    image = read_bytes(content, PreprocessConfig(size=SIDE), name)
    longest = max(image.width, image.height)
    size = tuple(max(1, round(SIDE * side / longest)) for side in (image.width, image.height))
    return np.asarray(Image.fromarray(image.levels).resize((size[0], size[1]), Image.Resampling.BILINEAR))


def prepared(image: Grey, preprocess: PreprocessConfig) -> NDArray[np.uint8]:
    """Return grey levels as the network takes them, uint8 [S, S]."""
    # as `pneumonia.imaging.preprocessing.resize`, which refuses an image that a change has left blank
    size = (preprocess.size, preprocess.size)
    levels = np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(size, Image.Resampling.BILINEAR))
    return equalize(levels) if preprocess.equalize else levels


def versions(image: Grey, seed: int, position: int) -> Iterator[Grey]:
    """Yield an image as it is, and then under each change of `CHANGES` in each of `STRENGTHS`.

    Args:
        image: of `grey_image`.
        seed: of what is random.
        position: of the image, so that each has noise of its own, and the same under every model.
    """
    yield image
    for kind, change in enumerate(CHANGES):
        for strength, amount in enumerate(change.amounts, start=1):
            yield change.apply(image, amount, np.random.default_rng([seed, position, kind, strength]))


def choose(labels: Sequence[int], copies: Sequence[bool], seed: int, per_class: int = IMAGES_PER_CLASS) -> list[int]:
    """Draw at most `per_class` images of each class, without copies; return their positions in order."""
    rng = np.random.default_rng(seed)
    truth, free = np.asarray(labels), ~np.asarray(copies, dtype=np.bool_)
    drawn = [rng.permutation(np.flatnonzero(free & (truth == label)))[:per_class] for label in range(len(CLASSES))]
    return sorted(np.concatenate(drawn).tolist())


def metrics_of(scored: Scored, config: EvaluationConfig) -> dict[str, Metric]:
    """Compute AUROC, sensitivity and specificity with their intervals by patient."""
    return part_metrics(Part.of(scored), config)


def _levels(values: NDArray[np.float64]) -> Grey:
    return np.asarray(np.clip(np.rint(values), 0, _FULL), np.uint8)
