"""Streams of images that never were: arrays as the service's events hold them, patients of several images each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pneumonia.imaging.image_statistics import STATISTICS
from pneumonia.monitoring.sample import Sample

DIMENSIONS = 24


@dataclass(frozen=True)
class Place:
    """Where images come from.

    Attributes:
        prevalence: share of positives.
        device: added to the third image statistic, standard deviations.
        case: added to the embeddings' first dimension, standard deviations.
        foreign: share of foreign pictures.
    """

    prevalence: float = 0.6
    device: float = 0.0
    case: float = 0.0
    foreign: float = 0.0


def draw(count: int, seed: int, place: Place | None = None) -> Sample:
    """Draw images in the order in which they come."""
    at = place or Place()
    random = np.random.default_rng(seed)
    patients = np.repeat(np.arange(count), random.integers(1, 4, count))[:count]
    labels = (random.random(count) < at.prevalence).astype(np.int8)[patients]
    width = DIMENSIONS + len(STATISTICS)
    own = 0.5 * random.normal(size=(count, width))[patients] + 0.87 * random.normal(size=(count, width))
    own[:, ::5] += 0.7 * labels[:, None]
    own[:, 1] += at.case
    own[:, DIMENSIONS + 2] += at.device
    accepted = random.random(count) >= at.foreign
    margins = 4.0 * labels - 2.0 + 1.4 * random.normal(size=count)
    return Sample(
        accepted=accepted,
        foreign=~accepted,
        familiar=accepted.copy(),
        margins=np.where(accepted, margins, np.nan),
        embeddings=np.exp(0.3 * own[:, :DIMENSIONS]).astype(np.float32),
        statistics=own[:, DIMENSIONS:].astype(np.float32),
        labels=labels,
        patients=patients.astype(np.int64),
        threshold=0.5,
    )
