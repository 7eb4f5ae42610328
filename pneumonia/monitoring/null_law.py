"""Find how the tests' statistics vary where nothing has changed, by dividing the reference itself.

The patients of the reference are put into random order again and again. The last images are a window, at several sizes,
and the first half stands for the reference. Images of a patient are alike, and follow one another in a stream: so they
do in these windows, and a statistic varies more than it would over independent images.

Every statistic is standardised first, so that its law depends little on the sizes: Kolmogorov and Smirnov's distance by
√(1/m + 1/n), the AUROC less a half by √((m + n + 1) / 12mn); then squared and divided by its mean square by chance. The
statistics' test is the largest of thirty. Windows larger than half the reference take the law of the largest drawn.

The level of all tests and sizes together is found from the largest of their rarities (-ln of the chance), whose tail is
continued to the chance that the budget leaves.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pneumonia.monitoring.settings import DriftSettings
from pneumonia.monitoring.space import Described
from pneumonia.records.drift import NullLaw
from pneumonia.statistics.discriminant import domain_area
from pneumonia.statistics.tail import TOP, Tail
from pneumonia.statistics.two_samples import Ranked

Floats = NDArray[np.float64]
TESTS = ("probability", "statistics", "embedding")
"""The tests of accepted images, in the order of a law's arrays."""
CAUTION = 0.4
"""Share of the chance that the level is made for. The law comes from one reference's patients; others bring larger
groups of like images, and such levels were reached more than twice as often as meant, in the replays of
`benchmarks/drift.py` that the detector was made with."""
INDEPENDENT = np.pi**2 / 12
"""Mean square of Kolmogorov's law, of the standardised distance of independent images. A statistic that hardly varies
in the reference, such as the size of files that are all of one, varies less: a single other file would be an alarm."""
FOREIGN_SHARE = 0.25
"""Share of the budget that the test of foreign pictures has for itself."""


def squares(distances: Floats, m: float, n: float) -> Floats:
    """Standardise Kolmogorov and Smirnov's distances of m and n images, and square them."""
    return distances**2 / (1 / m + 1 / n)


def classifier_square(auroc: float, m: float, n: float) -> float:
    """Standardise an AUROC of m and n images, and square it; 0 where it is 0.5 or less."""
    return max(0.0, auroc - 0.5) ** 2 / ((m + n + 1) / (12 * m * n))


def standardise(distances: Floats, classifier: float, means: Floats, classifier_mean: float) -> Floats:
    """Return the three tests' squares over their means by chance, [3] as `TESTS`."""
    scaled = distances / means
    return np.array([scaled[0], scaled[1:].max(), classifier / classifier_mean])


def fit_null_law(described: Described, patients: NDArray[np.int64] | None, settings: DriftSettings) -> NullLaw:
    """Find the null law of a reference's accepted images.

    Args:
        described: [m].
        patients: [m]; None: every image is one of its own.
        settings: sizes, number of resamples, folds, seed.
    """
    half = len(described) // 2
    sizes = tuple(sorted({min(size, half) for size in settings.sizes}))
    distances = np.empty((settings.resamples, len(sizes), described.ranked.shape[1]))
    areas = np.empty((settings.resamples, len(sizes)))
    ranked = Ranked.of(described.ranked)
    for at, order in enumerate(_orders(patients, len(described), settings)):
        first = order[: len(order) - half]
        inside = _mask(first, len(order))
        reference = described.take(first).labelled(settings.folds)
        for place, size in enumerate(sizes):
            last = order[len(order) - size :]
            found = ranked.distance(inside, _mask(last, len(order)))
            distances[at, place] = squares(found, len(first), size)
            window = described.take(last).labelled(settings.folds)
            auroc = domain_area(reference, window, settings.folds).value
            areas[at, place] = classifier_square(auroc, len(first), size)
    return _law(sizes, distances, areas)


def _law(sizes: tuple[int, ...], distances: Floats, areas: Floats) -> NullLaw:
    means = np.maximum(distances.mean(axis=0), INDEPENDENT)
    classifier = np.maximum(areas.mean(axis=0), 1e-9)
    tests = np.stack([distances[..., 0] / means[:, 0], (distances / means)[..., 1:].max(axis=-1), areas / classifier])
    tails = [[Tail.fit(tests[test, :, place]) for test in range(len(TESTS))] for place in range(len(sizes))]
    rarities = [tail.rarity(tests[test, :, place]) for place, row in enumerate(tails) for test, tail in enumerate(row)]
    largest = Tail.fit(np.max(rarities, axis=0))
    return NullLaw(
        sizes=sizes,
        means=tuple(tuple(row) for row in means.tolist()),
        classifier=tuple(classifier.tolist()),
        tails=tuple(tuple((tail.start, tail.scale) for tail in row) for row in tails),
        largest=(largest.start, largest.scale),
    )


def levels(law: NullLaw, size: int, settings: DriftSettings) -> tuple[Floats, float, Floats]:
    """Return what a window of a size is judged by.

    Returns:
        [31] and a number, the mean squares that `standardise` divides by; and [3], the alarm levels of the tests.
    """
    drawn = len(law.sizes) / len(settings.sizes)  # a size that could not be drawn has its share of the alarms too
    chance = (1 - FOREIGN_SHARE) * settings.alarms_per_look * CAUTION * drawn
    rarity = Tail(*law.largest).value(-float(np.log(chance)), TOP * settings.resamples)
    place = _place(law, size)
    found = np.array([Tail(*tail).value(rarity) for tail in law.tails[place]])
    return np.array(law.means[place]), law.classifier[place], found


def usual(law: NullLaw, size: int, chance: float) -> Floats:
    """Return the level that each test alone exceeds with a chance of at most 0.1, [3], at one window size."""
    return np.array([Tail(*tail).value(-float(np.log(chance))) for tail in law.tails[_place(law, size)]])


def _place(law: NullLaw, size: int) -> int:
    return max((at for at, drawn in enumerate(law.sizes) if drawn <= size), default=0)


def shuffled(patients: NDArray[np.int64] | None, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return positions in which patients come in random order, and the images of each follow one another."""
    if patients is None:
        return rng.permutation(count)
    keys = rng.permutation(int(patients.max()) + 1)[patients] if patients.min() >= 0 else None
    if keys is None:
        raise ValueError("patients: numbers from 0 on")
    return np.argsort(keys, kind="stable")


def _orders(patients: NDArray[np.int64] | None, count: int, settings: DriftSettings) -> Iterator[NDArray[np.intp]]:
    rng = np.random.default_rng(settings.seed)
    for _ in range(settings.resamples):
        yield shuffled(patients, count, rng)


def _mask(chosen: NDArray[np.intp], count: int) -> Floats:
    found = np.zeros(count)
    found[chosen] = 1
    return found
