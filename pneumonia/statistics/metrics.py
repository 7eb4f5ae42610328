"""Compute the metrics of a classifier, each with its interval by patient, and its curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pneumonia.config.schema import EvaluationConfig
from pneumonia.errors import DataError
from pneumonia.records.evaluation import Bin, Curves, Metric
from pneumonia.statistics.bootstrap import Counts, Floats, Sample, intervals
from pneumonia.timing import timed

BINS = 10  # of equal width, for the reliability diagram and the expected calibration error
METRICS = (
    *("auroc", "auprc", "accuracy", "sensitivity", "specificity", "precision", "f1", "balanced_accuracy"),
    *("brier", "ece", "brier_balanced", "ece_balanced", "brier_at_prevalence", "ece_at_prevalence"),
)
ERRORS = 2 * (1 + BINS)  # columns of `_errors`
PAIRED_METRICS = ("auroc", "accuracy", "sensitivity", "specificity", "balanced_accuracy")


@dataclass(frozen=True)
class Scored:
    """Images that a model has scored.

    Attributes:
        labels: [n] of 0 (NORMAL) or 1 (PNEUMONIA).
        probabilities: [n] of PNEUMONIA, 0 to 1.
        patients: [n] keys; images of one key are drawn together. None: every image is a separate patient.
        threshold: an image is classified as PNEUMONIA from this probability on, 0 to 1.
        copies: [n] bool, which images repeat an earlier one; they count in a metric's value, not in its interval.
    """

    labels: ArrayLike
    probabilities: ArrayLike
    patients: Sequence[str] | None = None
    threshold: float = 0.5
    copies: ArrayLike | None = None


@timed("intervals")
def compute_metrics(scored: Scored, config: EvaluationConfig) -> dict[str, Metric]:
    """Compute the metrics named in `METRICS`, each with its interval.

    Precision and F1 are 0 where no image is classified as PNEUMONIA. `auprc` is the average precision (no
    interpolation). `brier` is the mean squared error of the probability. `ece` is the mean, weighted by images, of the
    distance between the mean probability and the share of PNEUMONIA in `BINS` bins of equal width; resampling adds
    noise to every bin and thereby distance, so that its interval is biased upwards. Both are at the prevalence of these
    images; `…_balanced` let both classes weigh the same; `…_at_prevalence` let PNEUMONIA weigh as `config.prevalence`
    says, with the log odds of that prevalence added to those of the probability, which is for equally likely classes.

    Resamples that hold one class only have no AUROC; they are left out of every metric, and a warning counts them.

    Args:
        scored: labels, probabilities, patients, threshold.
        config: number of resamples, coverage, seed.

    Raises:
        DataError: NaN or infinite probabilities, or only one class.
        ValueError: lengths that differ, labels other than 0 and 1, probabilities or threshold outside 0 to 1.
    """
    sample = Sample.of(scored.labels, scored.patients, scored.copies)
    return _summarise(sample, [_Scorer.of(sample, scored, config.prevalence)], METRICS, config)


def paired_differences(a: Scored, b: Scored, config: EvaluationConfig) -> dict[str, Metric]:
    """Compute the differences a − b of the metrics named in `PAIRED_METRICS`, both models on the same resamples.

    Args:
        a, b: two models' scores of the same images, each at its own threshold.
        config: number of resamples, coverage, seed.

    Raises:
        ValueError: labels or patients that differ; otherwise as `compute_metrics`.
    """
    sample = paired_sample(a, b)
    return _summarise(sample, [_Scorer.of(sample, each, config.prevalence) for each in (a, b)], PAIRED_METRICS, config)


def paired_sample(a: Scored, b: Scored) -> Sample:
    """Return the images that two models have scored.

    Raises:
        ValueError: labels or patients that differ; otherwise as `compute_metrics`.
    """
    same_patients = a.patients is b.patients or list(a.patients or ()) == list(b.patients or ())
    if not (same_patients and np.array_equal(np.asarray(a.labels), np.asarray(b.labels))):
        raise ValueError("paired differences need two models' scores of the same images")
    return Sample.of(a.labels, a.patients, a.copies)


def compute_curves(scored: Scored) -> Curves:
    """Compute ROC, precision-recall, reliability and confusion; raises as `compute_metrics` does."""
    from sklearn.metrics import precision_recall_curve, roc_curve  # half a second, and only the report needs it

    sample = Sample.of(scored.labels, None)
    values, threshold = checked_probabilities(scored, sample), scored.threshold
    false_positive_rate, true_positive_rate, _ = roc_curve(sample.labels, values)
    precision, recall, _ = precision_recall_curve(sample.labels, values, drop_intermediate=True)
    predicted = values >= threshold
    table = [[int(np.sum((sample.labels == truth) & (predicted == label))) for label in (0, 1)] for truth in (0, 1)]
    return Curves(
        threshold=threshold,
        false_positive_rate=tuple(false_positive_rate.tolist()),
        true_positive_rate=tuple(true_positive_rate.tolist()),
        recall=tuple(recall[::-1].tolist()),
        precision=tuple(precision[::-1].tolist()),
        reliability=_reliability(sample.labels, values),
        confusion=((table[0][0], table[0][1]), (table[1][0], table[1][1])),
    )


def reliability(scored: Scored) -> tuple[Bin, ...]:
    """Compute the bins of the reliability diagram, of `compute_curves`; raises as that does."""
    sample = Sample.of(scored.labels, None)
    return _reliability(sample.labels, checked_probabilities(scored, sample))


def at_prevalence(values: Floats, prevalence: float) -> Floats:
    """Return probabilities for equally likely classes as those at a prevalence, by adding its log odds (Bayes)."""
    weighted = values * prevalence
    return np.asarray(weighted / (weighted + (1 - values) * (1 - prevalence)), dtype=np.float64)


def _errors(labels: Floats, values: Floats) -> list[Floats]:
    """Return the columns [n] of which `_calibration` takes the sums, of positives and then of negatives."""
    columns: list[Floats] = []
    for member in (labels, 1 - labels):
        columns.append(member * (values - labels) ** 2)
        columns.extend(member * (values - labels) * (_bins(values) == index) for index in range(BINS))
    return columns


def _calibration(sums: Floats, positive: Floats, negative: Floats) -> tuple[Floats, Floats]:
    """Return Brier score and expected calibration error [b] from sums [b, `ERRORS`] and a weight [b] for each class."""
    weighted = sums[:, : 1 + BINS] * positive[:, None] + sums[:, 1 + BINS :] * negative[:, None]
    return weighted[:, 0], np.abs(weighted[:, 1:]).sum(axis=1)


@dataclass(frozen=True)
class _Scorer:
    """One model's probabilities, sorted once so that each block of resamples costs a few passes over a matrix."""

    order: NDArray[np.intp]  # [n], patients of the images from the highest probability down
    positive: NDArray[np.bool_]  # [n], in that order
    steps: NDArray[np.intp]  # [k], where each of the k distinct probabilities begins
    sums: Floats  # [columns, …] tp, fp, fn, tn; squared error and the bins' errors, by patient
    prevalence: float

    @classmethod
    def of(cls, sample: Sample, scored: Scored, prevalence: float) -> _Scorer:
        values = checked_probabilities(scored, sample)
        order = np.argsort(-values, kind="stable")
        steps = np.flatnonzero(np.diff(values[order], prepend=np.inf))
        labels, predicted = sample.labels, values >= scored.threshold
        columns = [labels * predicted, (1 - labels) * predicted, labels * ~predicted, (1 - labels) * ~predicted]
        columns += _errors(labels, values) + _errors(labels, at_prevalence(values, prevalence))
        sums = np.zeros((sample.columns, len(columns)))
        np.add.at(sums, sample.patient, np.stack(columns, axis=1))
        return cls(sample.patient[order], labels[order] > 0, steps, sums, prevalence)

    def score(self, counts: NDArray[np.intp]) -> dict[str, Floats]:
        """Return every metric [b] for patient weights `counts` [b, columns], each row holding both classes."""
        # not BLAS, whose order of summation depends on its threads: the same images give the same bits everywhere
        sums = np.einsum("bp,pk->bk", counts.astype(np.float64), self.sums)
        tp, fp, fn, tn = sums[:, :4].T
        positives, negatives = tp + fn, fp + tn
        n = positives + negatives
        sensitivity, specificity = tp / positives, tn / negatives
        auroc, auprc = self._ranking(counts)
        own, shifted = sums[:, 4 : 4 + ERRORS], sums[:, 4 + ERRORS :]
        brier, ece = _calibration(own, 1 / n, 1 / n)
        brier_balanced, ece_balanced = _calibration(own, 0.5 / positives, 0.5 / negatives)
        share = self.prevalence
        brier_there, ece_there = _calibration(shifted, share / positives, (1 - share) / negatives)
        return {
            "auroc": auroc,
            "auprc": auprc,
            "accuracy": (tp + tn) / n,
            "sensitivity": sensitivity,
            "specificity": specificity,
            "precision": tp / np.maximum(tp + fp, 1),
            "f1": 2 * tp / (2 * tp + fp + fn),
            "balanced_accuracy": (sensitivity + specificity) / 2,
            "brier": brier,
            "ece": ece,
            "brier_balanced": brier_balanced,
            "ece_balanced": ece_balanced,
            "brier_at_prevalence": brier_there,
            "ece_at_prevalence": ece_there,
        }

    def _ranking(self, counts: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """Return AUROC and average precision.

        The AUROC is the share of (positive, negative) pairs in the right order, ties counting half (Mann-Whitney).
        """
        weights = counts[:, self.order].astype(np.float64)
        positive = np.add.reduceat(weights * self.positive, self.steps, axis=1)  # [b, k], at each distinct probability
        negative = np.add.reduceat(weights, self.steps, axis=1) - positive
        true, false = np.cumsum(positive, axis=1), np.cumsum(negative, axis=1)
        n_positive, n_negative = true[:, -1], false[:, -1]
        below = n_negative[:, None] - false + 0.5 * negative
        auroc = np.einsum("bk,bk->b", positive, below) / (n_positive * n_negative)
        # Before the first drawn image the precision is 0/0; its weight there is 0, so that any number is correct.
        auprc = np.einsum("bk,bk->b", positive, true / np.maximum(true + false, 1)) / n_positive
        return auroc, auprc


def _summarise(
    sample: Sample, scorers: list[_Scorer], names: Sequence[str], config: EvaluationConfig
) -> dict[str, Metric]:
    """Return the named metrics of one scorer, or of the first minus the second, with intervals."""

    def score(counts: Counts) -> Floats:
        first, *second = ([scored[name] for name in names] for scored in (s.score(counts) for s in scorers))
        return np.asarray(first) - np.asarray(second[0]) if second else np.asarray(first)

    return dict(zip(names, intervals(sample, score, config), strict=True))


def checked_probabilities(scored: Scored, sample: Sample) -> Floats:
    """Return the probabilities as float64 [n]; raises as `compute_metrics` does."""
    if not 0 <= scored.threshold <= 1:
        raise ValueError(f"threshold: {scored.threshold} is outside 0 to 1")
    values = np.asarray(scored.probabilities, dtype=np.float64)
    if values.shape != sample.labels.shape:
        raise ValueError(f"probabilities: shape {values.shape} for {len(sample.labels)} labels")
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise DataError(
            f"probabilities: {bad.size} of {len(values)} are not finite, the first at index {bad[0]}; the model has "
            "diverged, train it again with a lower train.learning_rate or train.precision=fp32"
        )
    if ((values < 0) | (values > 1)).any():
        raise ValueError(f"probabilities: outside 0 to 1, from {values.min():g} to {values.max():g}")
    return values


def _bins(values: Floats) -> NDArray[np.intp]:
    return np.minimum((values * BINS).astype(np.intp), BINS - 1)


def _reliability(labels: Floats, values: Floats) -> tuple[Bin, ...]:
    index = _bins(values)
    n, predicted, observed = (np.bincount(index, column, BINS) for column in (np.ones_like(values), values, labels))
    return tuple(
        Bin(low=i / BINS, high=(i + 1) / BINS, n=int(n[i]), predicted=predicted[i] / n[i], observed=observed[i] / n[i])
        for i in np.flatnonzero(n).tolist()
    )
