"""Compare two models on the same images: paired tests, and what a difference's interval says against a margin.

The AUROC has a closed variance (DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988, 837-845), here with several
images a patient (Obuchowski, Biometrics 53, 1997, 567-578), which is DeLong's where every patient has one image.
Decisions are compared by McNemar's exact test (Psychometrika 12, 1947). Everything else is compared by the bootstrap
over patients: `metrics.paired_differences`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from pneumonia.config.schema import EvaluationConfig
from pneumonia.errors import DataError
from pneumonia.records.evaluation import ComparedMetric, Metric
from pneumonia.statistics.bootstrap import Floats, Sample
from pneumonia.statistics.metrics import Scored, checked_probabilities, paired_differences, paired_sample


class Outcome(StrEnum):
    """What the interval of a difference candidate − champion says against a margin of non-inferiority."""

    BETTER = "better"
    NOT_WORSE = "not worse"
    WORSE = "worse"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class PairedTest:
    """A difference with its interval, and the two-sided p-value of no difference.

    Attributes:
        difference: first model less second.
        p: 0 to 1; 1 where both models give every image the same rank.
    """

    difference: Metric
    p: float


@dataclass(frozen=True)
class Discordant:
    """McNemar's table, of which the images that one model alone classifies correctly decide.

    Attributes:
        first, second: images that the first, the second model alone classifies correctly.
        p: exact two-sided p-value of equal error rates, 0 to 1.
    """

    first: int
    second: int
    p: float


def outcome(difference: Metric, margin: float) -> Outcome:
    """Classify a difference candidate − champion, higher being better.

    Better: the interval lies above 0. Not worse: it lies above −margin (non-inferiority, CONSORT 2010 extension,
    Piaggio et al., JAMA 308, 2012). Worse: it lies below 0 and reaches below −margin. Cannot tell: it holds both 0 and
    −margin.

    Args:
        difference: value and interval.
        margin: what may be lost, 0 or more.

    Raises:
        ValueError: a negative margin.
    """
    if not margin >= 0:
        raise ValueError(f"margin: {margin} is below 0")
    if difference.low > 0:
        return Outcome.BETTER
    if difference.low >= -margin:
        return Outcome.NOT_WORSE
    return Outcome.WORSE if difference.high < 0 else Outcome.CANNOT_TELL


def images_to_tell(difference: Metric, margin: float, images: int) -> int | None:
    """Estimate how many images would decide, if the difference stayed as it is: an interval narrows with √images.

    Args:
        difference: a difference that `outcome` cannot tell.
        margin: what may be lost, 0 or more.
        images: how many images the interval is of.

    Returns:
        The number of images, or None where no number would do: the difference lies exactly on the deciding border.
    """
    value = difference.value
    if value > -margin:  # enough images show that the loss is within the margin
        wide, distance = value - difference.low, value + margin
    else:  # enough images show that it is worse
        wide, distance = difference.high - value, -value
    return math.ceil(images * (wide / distance) ** 2) if distance > 0 else None


def compare_models(
    a: Scored, b: Scored, margins: Mapping[str, float], config: EvaluationConfig
) -> tuple[ComparedMetric, ...]:
    """Compare two models on the same images, each at its own threshold: AUROC by DeLong, the others by the bootstrap.

    Args:
        a, b: candidate and other model.
        margins: by metric, what may be lost.
        config: number of resamples, coverage, seed.

    Raises:
        ValueError: as `compare_auroc`.
    """
    auroc = compare_auroc(a, b, config.confidence)
    differences = paired_differences(a, b, config) | {"auroc": auroc.difference}
    p = {
        "auroc": auroc.p,
        "sensitivity": compare_decisions(a, b, only=1).p,
        "specificity": compare_decisions(a, b, only=0).p,
    }
    labels = np.asarray(a.labels)
    images = {"sensitivity": int(labels.sum()), "specificity": int((labels == 0).sum())}
    found = []
    for metric, margin in margins.items():
        difference = differences[metric]
        decided = outcome(difference, margin)
        needed = None
        if decided is Outcome.CANNOT_TELL:
            needed = images_to_tell(difference, margin, images.get(metric, len(labels)))
        found.append(
            ComparedMetric(
                metric=metric,
                difference=difference,
                margin=margin,
                outcome=decided.value,
                p=p.get(metric),
                images_to_tell=needed,
            )
        )
    return tuple(found)


def overall(outcomes: Iterable[str]) -> Outcome:
    """Return the outcome of several comparisons: the least favourable; better where one is and none is unfavourable."""
    found = set(outcomes)
    for least in (Outcome.WORSE, Outcome.CANNOT_TELL, Outcome.BETTER):
        if least.value in found:
            return least
    return Outcome.NOT_WORSE


def compare_auroc(a: Scored, b: Scored, confidence: float = 0.95) -> PairedTest:
    """Test whether two models rank the same images equally well.

    The variance is of the images that are no copies; the difference counts every image, as all metrics do. The interval
    is normal; where the classes are separated completely by both models it has no width.

    Args:
        a, b: two models' scores of the same images.
        confidence: coverage of the interval, between 0 and 1.

    Raises:
        DataError: fewer than two patients of a class, or what `compute_metrics` refuses.
        ValueError: labels or patients that differ, or a confidence outside 0 to 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: {confidence} is not between 0 and 1")
    sample = paired_sample(a, b)
    placed = np.stack([_placements(sample.labels, checked_probabilities(each, sample)) for each in (a, b)])
    positive = sample.labels > 0
    aurocs = placed[:, positive].mean(axis=1)
    value = float(aurocs[0] - aurocs[1])
    deviation = math.sqrt(_variance(placed[0] - placed[1], value, sample))
    wide = deviation * float(stats.norm.isf((1 - confidence) / 2))
    p = float(2 * stats.norm.sf(abs(value) / deviation)) if deviation else float(value == 0)
    return PairedTest(Metric(value=value, low=max(-1.0, value - wide), high=min(1.0, value + wide)), p)


def _placements(labels: Floats, values: Floats) -> Floats:
    """Return of each image the share of the other class's images that it is ranked correctly against, [n].

    Ties count half. The mean over either class is the AUROC.
    """
    positive = labels > 0
    ranks: Floats = np.asarray(stats.rankdata(values), dtype=np.float64)  # mid-ranks
    own = np.empty_like(ranks)
    for member in (positive, ~positive):
        own[member] = stats.rankdata(values[member])
    others = np.where(positive, (~positive).sum(), positive.sum())
    below: Floats = (ranks - own) / others
    below[~positive] = 1 - below[~positive]
    return below


def _variance(differences: Floats, value: float, sample: Sample) -> float:
    """Return the variance of the difference of two AUROCs from its placements, by patient (Obuchowski, 1997)."""
    kept = sample.patient < sample.n_patients  # no copies
    sums, present, counts = [], [], []
    for member in (sample.labels > 0, sample.labels == 0):
        chosen = kept & member
        patient = sample.patient[chosen]
        sums.append(np.bincount(patient, differences[chosen] - value, sample.n_patients))
        present.append(len(np.unique(patient)))
        counts.append(int(chosen.sum()))
    if min(present) < 2:
        raise DataError(f"{min(present)} patient(s) of a class: the AUROC's variance needs two; add images")
    within = [p / (p - 1) * float(s @ s) / n**2 for s, p, n in zip(sums, present, counts, strict=True)]
    patients = sample.n_patients
    between = 2 * patients / (patients - 1) * float(sums[0] @ sums[1]) / (counts[0] * counts[1])
    return max(0.0, sum(within) + between)


def compare_decisions(a: Scored, b: Scored, only: int | None = None) -> Discordant:
    """Test whether two models, each at its own threshold, classify the same images equally often correctly.

    Copies are left out. Images of one patient count as independent, as McNemar's test has it.

    Args:
        a, b: two models' scores of the same images.
        only: 1 compares sensitivity, 0 specificity, None accuracy.

    Raises:
        ValueError: labels or patients that differ.
    """
    sample = paired_sample(a, b)
    chosen = sample.patient < sample.n_patients
    if only is not None:
        chosen &= sample.labels == only
    right = [
        ((checked_probabilities(each, sample) >= each.threshold) == (sample.labels > 0))[chosen] for each in (a, b)
    ]
    return mcnemar(right[0], right[1])


def mcnemar(first: ArrayLike, second: ArrayLike) -> Discordant:
    """Compare which images two models classify correctly, bool [n] each, by the exact binomial test."""
    one, other = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if one.shape != other.shape:
        raise ValueError(f"{one.shape} and {other.shape}: McNemar's test needs the same images")
    alone, against = int((one & ~other).sum()), int((other & ~one).sum())
    total = alone + against
    return Discordant(alone, against, float(stats.binomtest(alone, total).pvalue) if total else 1.0)


def adjusted(p: Sequence[float]) -> NDArray[np.float64]:
    """Adjust p-values for how many they are (Holm, Scandinavian Journal of Statistics 6, 1979), in their order."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    raised = values[order] * np.arange(len(values), 0, -1)
    result = np.empty_like(values)
    result[order] = np.minimum(np.maximum.accumulate(raised), 1)
    return result
