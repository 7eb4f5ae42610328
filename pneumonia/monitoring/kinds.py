"""Name the kind of a change, and say what to do about it.

A change of prevalence alone moves probabilities, embeddings and statistics too, because the classes look different. It
is recognised by what vanishes when the reference's images are weighted by their labels to the prevalence that the
window's probabilities speak of (Lipton, Wang and Smola, ICML 2018; Roschewitz et al., MICCAI 2025 tell kinds so).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumonia.imaging.image_statistics import FILE_MEASURES, PIXEL_MEASURES, STATISTICS
from pneumonia.monitoring.detector import Compared, Detector, Findings
from pneumonia.monitoring.null_law import TESTS
from pneumonia.monitoring.sample import Sample
from pneumonia.records.drift import Kind
from pneumonia.records.evaluation import Metric
from pneumonia.statistics.prevalence import estimate_prevalence

Floats = NDArray[np.float64]
RESAMPLES, BLOCK = 200, 5
"""Resamples of an interval, and images in a row that are drawn together, as those of a patient come."""
LOUD, NOTABLE = 0.01, 0.05
"""By chance a test alone finds so much: more than the first does not vanish, more than the second is notable."""
TECHNICAL = [
    *range(sum(map(len, FILE_MEASURES.values()))),
    *(STATISTICS.index(name) for name in PIXEL_MEASURES["sharpness"]),
]
FRAMING = [STATISTICS.index(name) for name in PIXEL_MEASURES["border"]]
"""Statistics that no patient changes, of encoding, size and sharpness; and those of how patients lie in the picture."""
STATISTICS_TEST = TESTS.index("statistics")
ADVICE: dict[Kind, str] = {
    "none": "Nothing to do.",
    "too few": "Wait for more images.",
    "foreign pictures": "Find who sends pictures that are no frontal chest radiographs, and stop them there; the "
    "service refuses them meanwhile.",
    "acquisition": "Look at the device, its settings and the way its images take to the service; then retrain with "
    "images of it.",
    "case mix": "Look at the images, collect readers' labels for them, and retrain with these.",
    "prevalence": "Find a new operating point from readers' feedback; the network itself needs no retraining.",
}


@dataclass(frozen=True)
class Named:
    """The kind of a change.

    Attributes:
        kind: see `pneumonia.records.drift.Kind`.
        prevalence: of the window that speaks loudest, from its probabilities, with a 95 % interval; None where too few
            images were accepted.
        remaining: the comparison with the reference weighted to that prevalence.
    """

    kind: Kind
    prevalence: Metric | None = None
    remaining: Compared | None = None


def name_kind(detector: Detector, window: Sample, findings: Findings) -> Named:
    """Name the kind of what the tests of a window found."""
    loudest = findings.loudest
    foreign = any(one.score >= 1 for one in findings.foreign)
    if loudest is None:
        return Named("foreign pictures" if foreign else "too few")
    focus = window.last(loudest.size)
    prevalence = window_prevalence(detector, focus)
    if loudest.scores.max() < 1:
        return Named("foreign pictures" if foreign else "none", prevalence)
    remaining = detector.compare(focus, label_weights(detector, prevalence.value))
    assert remaining is not None  # noqa: S101 - the same images were compared before
    return Named(_of_remaining(detector, remaining, prevalence), prevalence, remaining)


def _of_remaining(detector: Detector, remaining: Compared, prevalence: Metric) -> Kind:
    """Name the kind by what remains after weighting, of which a test that no alarm came from says something too."""
    loud, notable = (detector.usual_scores(remaining.images, chance) for chance in (LOUD, NOTABLE))
    moved = not prevalence.low <= detector.calibration.prevalence <= prevalence.high
    if moved and not (remaining.scores >= loud).any():
        return "prevalence"
    shifts = (remaining.distances / remaining.distance_limits)[1:]
    if shifts[TECHNICAL].max() >= notable[STATISTICS_TEST]:
        return "acquisition"
    leads = remaining.scores.argmax() == STATISTICS_TEST and shifts.argmax() not in FRAMING
    return "acquisition" if leads else "case mix"


def window_prevalence(detector: Detector, window: Sample) -> Metric:
    """Estimate the share of PNEUMONIA among a window's accepted images, with a bootstrap interval of blocks."""
    ratios = detector.calibration.ratios(window.margins[window.accepted])
    counts = np.concatenate([np.ones((1, len(ratios))), block_counts(len(ratios), detector.settings.seed)])
    found = estimate_prevalence(ratios, counts, detector.calibration.prevalence)
    low, high = np.quantile(found[1:], [0.025, 0.975])
    return Metric(value=float(found[0]), low=float(low), high=float(high))


def block_counts(count: int, seed: int) -> Floats:
    """Return how often each of so many images is in each resample of blocks, [RESAMPLES, count]."""
    blocks = -(-count // BLOCK)
    drawn = np.random.default_rng(seed).multinomial(blocks, np.full(blocks, 1 / blocks), size=RESAMPLES)
    return np.repeat(drawn, BLOCK, axis=1)[:, :count].astype(np.float64)


def label_weights(detector: Detector, prevalence: float) -> Floats:
    """Return the weights that give the reference's images another prevalence, [m]."""
    known = detector.calibration.prevalence
    labels = detector.reference.labels
    return np.where(labels > 0, prevalence / known, (1 - prevalence) / (1 - known))
