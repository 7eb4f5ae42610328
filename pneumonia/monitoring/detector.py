"""Test the last images of a stream against a reference, at several window sizes, with one alarm level.

Four tests: Kolmogorov and Smirnov's on the probability, and on each of the image statistics; a domain classifier on the
embeddings; and the share of foreign pictures. The first three are of accepted images. What their statistics do by
chance is found in `pneumonia.monitoring.null_law`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumonia.monitoring.null_law import (
    FOREIGN_SHARE,
    classifier_square,
    fit_null_law,
    levels,
    shuffled,
    squares,
    standardise,
    usual,
)
from pneumonia.monitoring.sample import Sample
from pneumonia.monitoring.settings import DriftSettings
from pneumonia.monitoring.space import Described, Space
from pneumonia.records.drift import NullLaw
from pneumonia.statistics.discriminant import domain_area
from pneumonia.statistics.prevalence import Calibration
from pneumonia.statistics.two_samples import Area, Ranked, effective_size, wilson

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Compared:
    """The accepted images among the last of a window, compared with the reference.

    Attributes:
        size: the last so many images, accepted or not.
        images: of these that were accepted.
        distances: [31], Kolmogorov and Smirnov's distance of the margin and of each statistic.
        distance_limits: [31], from which each is an alarm.
        classifier: AUROC of the domain classifier.
        classifier_limit: from which it is an alarm.
        scores: [3], as `pneumonia.monitoring.null_law.TESTS`.
    """

    size: int
    images: int
    distances: Floats
    distance_limits: Floats
    classifier: Area
    classifier_limit: float
    scores: Floats


@dataclass(frozen=True)
class ForeignShare:
    """Foreign pictures among the last images of a window.

    Attributes:
        size: the last so many images.
        count, limit: foreign pictures, and how many are an alarm.
        p: chance of so many or more, where the share is the reference's.
        low, high: 95 % interval of the share.
    """

    size: int
    count: int
    limit: int
    p: float
    low: float
    high: float

    @property
    def score(self) -> float:
        """The count over its limit."""
        return self.count / self.limit


@dataclass(frozen=True)
class Findings:
    """What the tests found, by window size; a size that the window does not fill is left out, except the smallest."""

    compared: tuple[Compared, ...]
    foreign: tuple[ForeignShare, ...]

    @property
    def score(self) -> float:
        """The largest score of all."""
        return max([0.0, *(float(one.scores.max()) for one in self.compared), *(one.score for one in self.foreign)])

    @property
    def loudest(self) -> Compared | None:
        """The comparison with the largest score."""
        return max(self.compared, key=lambda one: float(one.scores.max()), default=None)


class Detector:
    """A reference, ready to be compared with.

    Attributes:
        reference: its accepted images, patients in random order.
        foreign: foreign pictures and images of the reference, accepted or not.
        space: of the embeddings.
        calibration: from margins to probabilities.
        law: of the statistics by chance.
    """

    def __init__(self, reference: Sample, settings: DriftSettings, law: NullLaw | None = None) -> None:
        """Fit everything to a reference.

        Args:
            reference: labelled images, of both classes.
            settings: see there.
            law: `law` of an earlier detector of the same reference and settings; it takes most of the time.

        Raises:
            ValueError: fewer accepted images than `settings.fewest`, or images of one class only.
        """
        self.settings = settings
        accepted = reference.take(reference.accepted)
        if len(accepted) < settings.fewest:
            raise ValueError(f"{len(accepted)} accepted images of the reference; {settings.fewest} are needed")
        order = shuffled(accepted.patients, len(accepted), np.random.default_rng(settings.seed))
        self.reference = accepted.take(order)
        self.foreign = (int(reference.foreign.sum()), len(reference))
        self.space = Space.fit(self.reference.embeddings, settings)
        self.calibration = Calibration.fit(self.reference.margins, self.reference.labels)
        self._described = self.space.describe(self.reference)
        self.law = law or fit_null_law(self._described, self.reference.patients, settings)

    def test(self, window: Sample) -> Findings:
        """Test a window at each size of the settings that it fills; a smaller one at its own."""
        sizes = [size for size in self.settings.sizes if size <= len(window)] or [len(window)]
        compared = [self.compare(window.last(size)) for size in sizes]
        foreign = [self._foreign(window.last(size)) for size in sizes if size >= self.settings.fewest]
        return Findings(tuple(one for one in compared if one is not None), tuple(foreign))

    def compare(self, window: Sample, weights: Floats | None = None) -> Compared | None:
        """Compare the accepted images of a whole window with the reference; None where they are too few.

        Args:
            window: images in time order.
            weights: of the reference's images, [m]; equal by default.
        """
        accepted = window.take(window.accepted)
        if len(accepted) < self.settings.fewest:
            return None
        described = self.space.describe(accepted)
        weights = np.ones(len(self.reference)) if weights is None else weights
        m, n = effective_size(weights), float(len(accepted))
        distances = self._distances(described, weights)
        folds = self.settings.folds
        area = domain_area(self._described.labelled(folds, weights), described.labelled(folds), folds)
        means, classifier_mean, limits = levels(self.law, len(accepted), self.settings)
        found = standardise(squares(distances, m, n), classifier_square(area.value, m, n), means, classifier_mean)
        unit = np.sqrt(means * (1 / m + 1 / n))
        return Compared(
            size=len(window),
            images=len(accepted),
            distances=distances,
            distance_limits=unit * np.sqrt(np.where(np.arange(len(means)) == 0, limits[0], limits[1])),
            classifier=area,
            classifier_limit=0.5 + math.sqrt(limits[2] * classifier_mean * (m + n + 1) / (12 * m * n)),
            scores=np.sqrt(found / limits),
        )

    def usual_scores(self, images: int, chance: float) -> Floats:
        """Return the score that each test alone exceeds by chance, at most 0.1, in windows of accepted images, [3]."""
        return np.sqrt(usual(self.law, images, chance) / levels(self.law, images, self.settings)[2])

    def _distances(self, window: Described, weights: Floats) -> Floats:
        m, n = len(weights), len(window)
        both = Ranked.of(np.concatenate([self._described.ranked, window.ranked]))
        return both.distance(np.concatenate([weights, np.zeros(n)]), np.concatenate([np.zeros(m), np.ones(n)]))

    def _foreign(self, window: Sample) -> ForeignShare:
        """Test the share of foreign pictures, by the predictive law of the reference's (beta-binomial, Jeffreys)."""
        from scipy.stats import betabinom

        known, of = self.foreign
        count, size = int(window.foreign.sum()), len(window)
        shares = betabinom(size, known + 0.5, of - known + 0.5).pmf(np.arange(size + 1))
        at_least = np.minimum(np.cumsum(shares[::-1])[::-1], 1.0)
        chance = FOREIGN_SHARE * self.settings.alarms_per_look / len(self.settings.sizes)
        limit = int(np.argmax(at_least <= chance)) or size + 1
        return ForeignShare(size, count, limit, float(at_least[count]), *wilson(count / size, size))
