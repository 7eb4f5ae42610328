"""Estimate a stream's metrics without labels, from calibrated probabilities, and beside them what labels say.

Confidence-based performance estimation: an image with probability p is a positive with chance p, so that the expected
counts of the confusion matrix are sums of probabilities (NannyML's CBPE). It is right where probabilities mean what
they say, that is as long as nothing but the mix of classes has changed: an estimate beside the band of the reference is
a reason to look, not a measurement.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pneumonia.monitoring.detector import Detector
from pneumonia.monitoring.kinds import RESAMPLES, block_counts
from pneumonia.monitoring.sample import Sample
from pneumonia.records.evaluation import Metric
from pneumonia.statistics.two_samples import area, placements, wilson

Floats = NDArray[np.float64]
_TINY = 1e-12


def expected_metrics(
    probabilities: Floats, scores: Floats, decided: NDArray[np.bool_], counts: Floats
) -> dict[str, Floats]:
    """Return the metrics that probabilities speak of, of several resamples.

    Args:
        probabilities: of a positive, calibrated, [n].
        scores: by which images are ranked, [n].
        decided: bool [n], classified as positive.
        counts: [b, n], how often each image is in each resample.

    Returns:
        accuracy, sensitivity, specificity and auroc, [b] each.
    """
    order = np.argsort(scores, kind="stable")
    positive, negative = counts * probabilities, counts * (1 - probabilities)
    right = positive[:, decided].sum(axis=1), negative[:, ~decided].sum(axis=1)
    positives, negatives = positive.sum(axis=1), negative.sum(axis=1)
    below = np.cumsum(negative[:, order], axis=1)
    won = (positive[:, order] * (below - negative[:, order])).sum(axis=1)
    same = (positive * negative).sum(axis=1)  # an image is no pair with itself
    return {
        "accuracy": (right[0] + right[1]) / np.maximum(counts.sum(axis=1), _TINY),
        "sensitivity": right[0] / np.maximum(positives, _TINY),
        "specificity": right[1] / np.maximum(negatives, _TINY),
        "auroc": won / np.maximum(positives * negatives - same, _TINY),
    }


def estimate_metrics(detector: Detector, window: Sample, prevalence: float | None = None) -> dict[str, Metric]:
    """Estimate the metrics of a window's accepted images, with bootstrap intervals of blocks of images.

    Args:
        detector: whose calibration is used.
        window: images in time order, at least one accepted.
        prevalence: of the window, where that is what has changed; the reference's by default.
    """
    accepted = window.take(window.accepted)
    probabilities = detector.calibration.probabilities(accepted.margins, prevalence)
    counts = np.concatenate([np.ones((1, len(accepted))), block_counts(len(accepted), detector.settings.seed)])
    return _metrics(expected_metrics(probabilities, accepted.margins, accepted.decided, counts))


def expected_band(detector: Detector, images: int) -> dict[str, Metric]:
    """Return what `estimate_metrics` gives in windows of the reference: the value of all, and the range of 95 %.

    Args:
        detector: of the reference.
        images: accepted images in a window.
    """
    reference = detector.reference
    counts = np.concatenate([np.ones((1, len(reference))), _windows(reference, images, detector.settings.seed)])
    probabilities = detector.calibration.probabilities(reference.margins)
    return _metrics(expected_metrics(probabilities, reference.margins, reference.decided, counts))


def _windows(reference: Sample, images: int, seed: int) -> Floats:
    """Return how often each image is in windows of about so many images, drawn by patient, [RESAMPLES, m]."""
    known = np.arange(len(reference)) if reference.patients is None else reference.patients
    _, patients = np.unique(known, return_inverse=True)
    count = int(patients.max()) + 1
    drawn = max(1, round(images * count / len(reference)))
    counts = np.random.default_rng(seed).multinomial(drawn, np.full(count, 1 / count), size=RESAMPLES)
    return np.asarray(counts[:, patients], dtype=np.float64)


def _metrics(found: dict[str, Floats]) -> dict[str, Metric]:
    ranges = {name: np.quantile(values[1:], [0.025, 0.975]) for name, values in found.items()}
    return {
        name: Metric(value=float(values[0]), low=float(ranges[name][0]), high=float(ranges[name][1]))
        for name, values in found.items()
    }


def measure_metrics(window: Sample) -> tuple[dict[str, Metric], int]:
    """Measure the metrics of the accepted images that readers have labelled, and count these.

    Shares have Wilson's intervals, the AUROC DeLong's; a metric that the labels do not suffice for is left out.
    """
    known = window.take(window.accepted & (window.labels >= 0))
    truth, decided = known.labels > 0, known.decided
    groups = {"accuracy": np.ones(len(truth), bool), "sensitivity": truth, "specificity": ~truth}
    found = {}
    for name, group in groups.items():
        if group.any():
            share = float((decided == truth)[group].mean())
            low, high = wilson(share, int(group.sum()))
            found[name] = Metric(value=share, low=low, high=high)
    if min(int(truth.sum()), int((~truth).sum())) >= 2:
        auroc = area(*placements(known.margins[truth], known.margins[~truth]))
        found["auroc"] = Metric(value=auroc.value, low=auroc.low, high=auroc.high)
    return found, len(known)
