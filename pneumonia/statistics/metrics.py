"""Compute the metrics of a classifier, each with its interval by patient, and the curves behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pneumonia.config.schema import EvaluateConfig
from pneumonia.errors import DataError
from pneumonia.records.evaluation import Bin, Curves, Metric
from pneumonia.statistics.bootstrap import Counts, Floats, Sample, intervals

BINS = 10  # of equal width, for the reliability diagram and the expected calibration error
METRICS = (
    *("auroc", "auprc", "accuracy", "sensitivity", "specificity", "precision", "f1", "balanced_accuracy"),
    *("brier", "ece"),
)
PAIRED_METRICS = ("auroc", "accuracy", "sensitivity", "specificity")


def compute_metrics(
    labels: ArrayLike, probabilities: ArrayLike, patients: Sequence[str], threshold: float, config: EvaluateConfig
) -> dict[str, Metric]:
    """The figures named in `NAMES`, each with its interval.

    Args:
        labels: [n] of 0 (NORMAL) or 1 (PNEUMONIA).
        probabilities: [n] of PNEUMONIA, 0 to 1.
        patients: [n] keys; films of one key are drawn together.
        threshold: a film is called PNEUMONIA from this probability on, 0 to 1.
        config: number of resamples, coverage, seed.

    Precision and F1 are 0 where nothing is called PNEUMONIA. `auprc` is the average precision (no interpolation).
    `brier` is the mean squared error of the probability. `ece` is the mean, weighted by films, of the distance between
    the mean probability and the share of PNEUMONIA in `BINS` bins of equal width; resampling adds noise to every bin
    and so distance, which is why its interval lies high.

    Resamples that hold one class only have no AUROC; they are left out of every figure, and a warning
    says how many.

    Raises:
        DataError: NaN or infinite probabilities, or only one class.
        ValueError: lengths that differ, labels other than 0 and 1, probabilities or threshold outside 0 to 1.
    """
    sample = Sample.of(labels, patients)
    scorer = _Scorer.of(sample, probabilities, threshold)
    return _summarise(sample, [scorer], METRICS, config)


def paired_differences(
    labels: ArrayLike,
    probabilities_a: ArrayLike,
    probabilities_b: ArrayLike,
    patients: Sequence[str],
    threshold: float,
    config: EvaluateConfig,
    threshold_b: float | None = None,
) -> dict[str, Metric]:
    """The differences a − b of the figures named in `PAIRED`, both models on the same resamples.

    Args and errors as for `figures`; `threshold_b` is model b's own threshold where it has one.
    """
    sample = Sample.of(labels, patients)
    scorers = [
        _Scorer.of(sample, probabilities_a, threshold),
        _Scorer.of(sample, probabilities_b, threshold if threshold_b is None else threshold_b),
    ]
    return _summarise(sample, scorers, PAIRED_METRICS, config)


def compute_curves(labels: ArrayLike, probabilities: ArrayLike, threshold: float = 0.5) -> Curves:
    """ROC, precision-recall, reliability and confusion. Args and errors as for `figures`."""
    from sklearn.metrics import precision_recall_curve, roc_curve  # half a second, and only the report needs it

    sample = Sample.of(labels, None)
    values = _probabilities(probabilities, sample)
    _check_threshold(threshold)
    false_positive_rate, true_positive_rate, _ = roc_curve(sample.labels, values)
    precision, recall, _ = precision_recall_curve(sample.labels, values, drop_intermediate=True)
    called = values >= threshold
    table = [[int(np.sum((sample.labels == truth) & (called == call))) for call in (0, 1)] for truth in (0, 1)]
    return Curves(
        threshold=threshold,
        false_positive_rate=tuple(false_positive_rate.tolist()),
        true_positive_rate=tuple(true_positive_rate.tolist()),
        recall=tuple(recall[::-1].tolist()),
        precision=tuple(precision[::-1].tolist()),
        reliability=_reliability(sample.labels, values),
        confusion=((table[0][0], table[0][1]), (table[1][0], table[1][1])),
    )


@dataclass(frozen=True)
class _Scorer:
    """One model's probabilities, sorted once so that each block of resamples costs a few passes over a matrix."""

    order: NDArray[np.intp]  # [n], patients of the films from the highest probability down
    ill: NDArray[np.bool_]  # [n], in that order
    steps: NDArray[np.intp]  # [k], where each of the k distinct probabilities begins
    sums: Floats  # [patients, …] tp, fp, fn, tn, squared error and the calibration bins' errors, by patient

    @classmethod
    def of(cls, sample: Sample, probabilities: ArrayLike, threshold: float) -> _Scorer:
        values = _probabilities(probabilities, sample)
        _check_threshold(threshold)
        order = np.argsort(-values, kind="stable")
        steps = np.flatnonzero(np.diff(values[order], prepend=np.inf))
        labels, called = sample.labels, values >= threshold
        columns = [labels * called, (1 - labels) * called, labels * ~called, (1 - labels) * ~called]
        columns.append((values - labels) ** 2)
        columns.extend((values - labels) * (_bins(values) == index) for index in range(BINS))
        sums = np.zeros((sample.n_patients, len(columns)))
        np.add.at(sums, sample.patient, np.stack(columns, axis=1))
        return cls(sample.patient[order], labels[order] > 0, steps, sums)

    def score(self, counts: NDArray[np.intp]) -> dict[str, Floats]:
        """Every figure [b] for patient weights `counts` [b, patients], each row holding both classes."""
        # not BLAS, which adds in an order that depends on its threads: the same films give the same bits everywhere
        sums = np.einsum("bp,pk->bk", counts.astype(np.float64), self.sums)
        tp, fp, fn, tn, squared = sums[:, :5].T
        n = tp + fp + fn + tn
        sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
        auroc, auprc = self._ranking(counts)
        return {
            "auroc": auroc,
            "auprc": auprc,
            "accuracy": (tp + tn) / n,
            "sensitivity": sensitivity,
            "specificity": specificity,
            "precision": tp / np.maximum(tp + fp, 1),
            "f1": 2 * tp / (2 * tp + fp + fn),
            "balanced_accuracy": (sensitivity + specificity) / 2,
            "brier": squared / n,
            "ece": np.abs(sums[:, 5:]).sum(axis=1) / n,
        }

    def _ranking(self, counts: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """AUROC as the share of (ill, well) pairs in the right order, ties half (Mann-Whitney); average precision."""
        weights = counts[:, self.order].astype(np.float64)
        ill = np.add.reduceat(weights * self.ill, self.steps, axis=1)  # [b, k], at each distinct probability
        well = np.add.reduceat(weights, self.steps, axis=1) - ill
        true, false = np.cumsum(ill, axis=1), np.cumsum(well, axis=1)
        n_ill, n_well = true[:, -1], false[:, -1]
        below = n_well[:, None] - false + 0.5 * well
        auroc = np.einsum("bk,bk->b", ill, below) / (n_ill * n_well)
        # Until the first drawn film the precision is 0/0; no ill film is gained there, so any number will do.
        auprc = np.einsum("bk,bk->b", ill, true / np.maximum(true + false, 1)) / n_ill
        return auroc, auprc


def _summarise(
    sample: Sample, scorers: list[_Scorer], names: Sequence[str], config: EvaluateConfig
) -> dict[str, Metric]:
    """The named figures of one scorer, or of the first minus the second."""

    def score(counts: Counts) -> Floats:
        first, *second = ([scored[name] for name in names] for scored in (s.score(counts) for s in scorers))
        return np.asarray(first) - np.asarray(second[0]) if second else np.asarray(first)

    return dict(zip(names, intervals(sample, score, config), strict=True))


def _probabilities(probabilities: ArrayLike, sample: Sample) -> Floats:
    values = np.asarray(probabilities, dtype=np.float64)
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


def _check_threshold(threshold: float) -> None:
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold: {threshold} is outside 0 to 1")


def _bins(values: Floats) -> NDArray[np.intp]:
    return np.minimum((values * BINS).astype(np.intp), BINS - 1)


def _reliability(labels: Floats, values: Floats) -> tuple[Bin, ...]:
    index = _bins(values)
    n, predicted, observed = (np.bincount(index, column, BINS) for column in (np.ones_like(values), values, labels))
    return tuple(
        Bin(low=i / BINS, high=(i + 1) / BINS, n=int(n[i]), predicted=predicted[i] / n[i], observed=observed[i] / n[i])
        for i in np.flatnonzero(n).tolist()
    )
