"""The documents of a cross-validation: a fold's result, a metric over folds and seeds, and the whole."""

from __future__ import annotations

from typing import Any

from pneumonia.records.base import Document
from pneumonia.records.evaluation import Metric


class FoldResult(Document):
    """The result of `score_fold`: a model of the other folds, on the images of the fold that was held out.

    Attributes:
        seed: of the training and of the folds.
        fold: from 0.
        run_id: the MLflow run of the training.
        weights_digest: sha256 of the weights' tensors.
        images, positives: that were held out.
        scores: path of the CSV of these images' probabilities, see `pneumonia.evaluation.cross_validation`.
        metrics: at the model's own threshold, with intervals by patient.
    """

    seed: int
    fold: int
    run_id: str
    weights_digest: str
    images: int
    positives: int
    scores: str
    metrics: dict[str, Metric]


class CrossValidated(Document):
    """A metric over all folds and seeds.

    Attributes:
        mean, sd: over `values`; the standard deviation is that of a sample.
        low, high: interval of the mean, see `pneumonia.statistics.resampled_mean`.
        values: one a fold and seed, in the order of `CrossValidation.results`.
    """

    mean: float
    sd: float
    low: float
    high: float
    values: tuple[float, ...]


class CrossValidation(Document):
    """The result of `summarise_folds`.

    Attributes:
        recipe: digest of the recipe, see `pneumonia.config.recipe`; that of a version which was trained with it.
        data_digest: of the data version, which no split changes.
        phantom: the images are synthetic.
        folds, seeds: how many folds, and the seeds of training and folds.
        results: of every seed and fold, in this order.
        metrics: over folds and seeds.
        pooled: of the scores of all folds and seeds together, each decided at its own model's threshold; intervals by
            patient.
        run_id: the MLflow run that the folds' runs are children of.
        finished_at: ISO 8601 in UTC.
        config: the configuration without seeds and folds of its own.
    """

    recipe: str
    data_digest: str
    phantom: bool
    folds: int
    seeds: tuple[int, ...]
    results: tuple[FoldResult, ...]
    metrics: dict[str, CrossValidated]
    pooled: dict[str, Metric]
    run_id: str
    finished_at: str
    config: dict[str, Any]
