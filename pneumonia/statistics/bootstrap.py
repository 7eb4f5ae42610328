"""Compute bootstrap intervals by patient, because two images of one patient are not two independent observations.

The interval is the percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13) with
the patient as the unit: as many patients are drawn, with replacement, as there are, each with all of its images. A
resample is a vector of how often each patient was drawn, that is of weights, so that nothing is copied or sorted again
and a block of resamples is one matrix. An image that occurs several times (equal pixels) weighs once in the resamples:
its copies are not drawn, because they are no further observations and would make the intervals narrower. The value of a
metric counts all images, copies too, as published metrics of a data set do. A metric that is 0 or 1 in the data has an
interval of no width under a percentile bootstrap: read 1.000 (1.000 to 1.000) as "no error observed", not as certainty.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pneumonia.config.schema import CLASSES, EvaluationConfig
from pneumonia.errors import DataError
from pneumonia.records.evaluation import Metric

_BLOCK = 250_000  # numbers in the largest array of a block of resamples: 2 MB, which fits a core's cache

Floats = NDArray[np.float64]
Counts = NDArray[np.intp]
"""[b, columns], how often each patient was drawn in each of b resamples; see `Sample.columns`."""
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """The labels of images and the patients that the images belong to.

    Attributes:
        labels: [n] of 0 and 1.
        patient: [n], index of the image's column in `Counts`: its patient, or for copies one column of their own.
        n_patients: the patients, of whom as many are drawn.
        columns: `n_patients`, and one more if there are copies: it counts in the data and is never drawn.
    """

    labels: Floats
    patient: NDArray[np.intp]
    n_patients: int
    columns: int

    @classmethod
    def of(cls, labels: ArrayLike, patients: Sequence[str] | None, copies: ArrayLike | None = None) -> Sample:
        """Check labels and patients, and index the patients; without patients every image is one of its own.

        Args:
            labels: [n] of 0 and 1.
            patients: [n] keys.
            copies: bool [n], which images repeat an earlier one.

        Raises:
            DataError: no image of a class.
            ValueError: labels other than 0 and 1, or lengths that differ.
        """
        truth = np.asarray(labels)
        if truth.ndim != 1 or not np.isin(truth, (0, 1)).all():
            raise ValueError("labels: expected a list of 0 (NORMAL) and 1 (PNEUMONIA)")
        if patients is not None and len(patients) != len(truth):
            raise ValueError(f"patients: {len(patients)} for {len(truth)} labels")
        for label, name in enumerate(CLASSES):
            if not (truth == label).any():
                raise DataError(
                    f"no {name} image among {len(truth)}: AUROC, sensitivity and specificity need both classes; "
                    f"add images to {name}/"
                )
        repeats = np.zeros(len(truth), bool) if copies is None else np.asarray(copies, dtype=bool)
        if repeats.shape != truth.shape:
            raise ValueError(f"copies: shape {repeats.shape} for {len(truth)} labels")
        keys = np.arange(len(truth)) if patients is None else np.asarray(patients)
        unique, known = np.unique(keys[~repeats], return_inverse=True)
        index = np.full(len(truth), len(unique), dtype=np.intp)
        index[~repeats] = known
        return cls(truth.astype(np.float64), index, len(unique), len(unique) + bool(repeats.any()))

    def resamples(self, config: EvaluationConfig) -> Iterator[NDArray[np.intp]]:
        """Yield blocks [b, columns] of how often each patient was drawn; copies never are."""
        rng = np.random.default_rng(config.seed)
        block = max(1, _BLOCK // len(self.labels))
        for start in range(0, config.bootstrap, block):
            rows = min(block, config.bootstrap - start)
            drawn = rng.integers(self.n_patients, size=(rows, self.n_patients))
            drawn += np.arange(rows)[:, None] * self.n_patients
            counts = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
            yield np.pad(counts, ((0, 0), (0, self.columns - self.n_patients)))

    def both_classes(self, counts: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return which rows of `counts` [b, columns] hold an image of each class, bool [b]."""
        positive = np.bincount(self.patient, self.labels, self.columns)
        negative = np.bincount(self.patient, 1 - self.labels, self.columns)
        return (counts @ positive > 0) & (counts @ negative > 0)


def intervals(sample: Sample, score: Callable[[Counts], Floats], config: EvaluationConfig) -> list[Metric]:
    """Compute metrics of the data, with intervals from the percentiles over the resamples.

    Args:
        sample: the images and their patients.
        score: returns metrics [k, b] for b resamples, each of which holds images of both classes.
        config: number of resamples, coverage, seed.

    Returns:
        [k].
    """
    values = score(np.ones((1, sample.columns), dtype=np.intp))[:, 0]
    blocks = [score(counts[sample.both_classes(counts)]) for counts in sample.resamples(config)]
    resampled = np.concatenate(blocks, axis=1)
    missing = config.bootstrap - resampled.shape[1]
    if missing:
        _logger.warning(
            "%d of %d bootstrap resamples held one class only and were left out: there are few patients (%d), "
            "and the intervals are approximate",
            missing,
            config.bootstrap,
            sample.n_patients,
        )
    tail = (1 - config.confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail], axis=1)
    return [
        Metric(value=value, low=below, high=above)
        for value, below, above in zip(values.tolist(), low.tolist(), high.tolist(), strict=True)
    ]
