"""Judge a window of a stream: the tests, the kind of change, the metrics to be expected, as one document."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumonia.imaging.image_statistics import STATISTICS
from pneumonia.monitoring.detector import Compared, Detector, Findings, ForeignShare
from pneumonia.monitoring.estimated import estimate_metrics, expected_band, measure_metrics
from pneumonia.monitoring.kinds import ADVICE, name_kind
from pneumonia.monitoring.sample import Sample
from pneumonia.records.drift import DriftTest, DriftVerdict, StatisticShift


@dataclass(frozen=True)
class Looked:
    """What was looked at, and when; all as the verdict holds it (`pneumonia.records.drift.DriftVerdict`)."""

    name: str
    version: str
    model_digest: str
    checked_at: str
    since: str
    until: str
    first_event: str
    last_event: str


def judge(detector: Detector, window: Sample, looked: Looked) -> DriftVerdict:
    """Judge the last images of a stream.

    Args:
        detector: of the version's reference.
        window: images in time order, the newest last.
        looked: what they are of.
    """
    findings = detector.test(window)
    named = name_kind(detector, window, findings)
    loudest = findings.loudest
    focus = window.last(loudest.size) if loudest is not None else window.last(0)
    enough = loudest is not None
    moved = named.prevalence.value if named.kind == "prevalence" and named.prevalence is not None else None
    measured, labels = measure_metrics(window)
    return DriftVerdict(
        **vars(looked),
        images=len(window),
        refused=int((~window.accepted).sum()),
        alarm=findings.score >= 1,
        kind=named.kind,
        advice=ADVICE[named.kind],
        score=findings.score,
        budget=detector.settings.budget,
        tests=describe_tests(detector, window, findings),
        shifts=_shifts(detector, focus, loudest) if loudest is not None else (),
        focus=len(focus),
        reference_prevalence=detector.calibration.prevalence,
        prevalence=named.prevalence,
        estimated=estimate_metrics(detector, focus, moved) if enough else {},
        expected=expected_band(detector, int(focus.accepted.sum())) if enough else {},
        measured=measured,
        labels=labels,
    )


def describe_tests(detector: Detector, window: Sample, findings: Findings) -> tuple[DriftTest, ...]:
    """Return the documents of all tests at all sizes."""
    found = []
    for compared in findings.compared:
        accepted = window.last(compared.size)
        accepted = accepted.take(accepted.accepted)
        found += [*_ranks(detector, accepted, compared), _classifier(compared)]
    return (*found, *(_foreign(one) for one in findings.foreign))


def _ranks(detector: Detector, accepted: Sample, compared: Compared) -> tuple[DriftTest, DriftTest]:
    """Return the tests of the probability, and of the statistic that has moved most."""
    largest = int(np.argmax((compared.distances / compared.distance_limits)[1:]))
    reference, size = detector.reference, compared.size
    p = _exact(reference.margins, accepted.margins)
    one = _exact(reference.statistics[:, largest], accepted.statistics[:, largest])
    many = min(1.0, one * len(STATISTICS))
    distance, limit = float(compared.distances[0]), float(compared.distance_limits[0])
    probability = DriftTest(
        name="probability",
        images=size,
        statistic=distance,
        limit=limit,
        score=float(compared.scores[0]),
        p_value=p,
        words=f"the last {size} images' probabilities differ from the reference's by {distance:.3f} (Kolmogorov and "
        f"Smirnov's distance; alarm from {limit:.3f})",
    )
    distance, limit = float(compared.distances[1 + largest]), float(compared.distance_limits[1 + largest])
    statistics = DriftTest(
        name="statistics",
        images=size,
        statistic=distance,
        limit=limit,
        score=float(compared.scores[1]),
        p_value=many,
        words=f"of the last {size} images' statistics, {STATISTICS[largest]} has moved most, by {distance:.3f} "
        f"(Kolmogorov and Smirnov's distance; alarm from {limit:.3f})",
    )
    return probability, statistics


def _exact(reference: NDArray[np.floating], window: NDArray[np.floating]) -> float:
    from scipy.stats import ks_2samp

    return float(ks_2samp(reference, window, method="exact").pvalue)


def _classifier(compared: Compared) -> DriftTest:
    found, limit = compared.classifier, compared.classifier_limit
    return DriftTest(
        name="embedding",
        images=compared.size,
        statistic=found.value,
        limit=limit,
        score=float(compared.scores[2]),
        low=found.low,
        high=found.high,
        words=f"a classifier tells the last {compared.size} images' embeddings from the reference's with AUROC "
        f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f}; 0.5 is chance; alarm from {limit:.3f})",
    )


def _foreign(found: ForeignShare) -> DriftTest:
    share = found.count / found.size
    return DriftTest(
        name="foreign",
        images=found.size,
        statistic=share,
        limit=found.limit / found.size,
        score=found.score,
        p_value=found.p,
        low=found.low,
        high=found.high,
        words=f"{found.count} of the last {found.size} pictures are no frontal chest radiographs (alarm from "
        f"{found.limit})",
    )


def _shifts(detector: Detector, focus: Sample, compared: Compared) -> tuple[StatisticShift, ...]:
    accepted = focus.take(focus.accepted)
    scores = (compared.distances / compared.distance_limits)[1:]
    medians = [np.median(sample.statistics, axis=0) for sample in (detector.reference, accepted)]
    return tuple(
        StatisticShift(
            name=STATISTICS[at],
            ks=float(compared.distances[1 + at]),
            score=float(scores[at]),
            reference_median=float(medians[0][at]),
            window_median=float(medians[1][at]),
        )
        for at in np.argsort(-scores, kind="stable")
    )
