"""Summarise a cross-validation from the scores of the images that were held out; loads no torch.

The scores are a CSV table, a row a seed and image, with the columns `COLUMNS`: probabilities as Python writes them, so
that nothing is lost, the threshold of the model that gave them, and whether the image repeats an earlier one of its
fold (see `pneumonia.data.images.repeated`). Every number of a `CrossValidation` follows from it.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from pneumonia.config.schema import EvaluationConfig
from pneumonia.errors import DataError
from pneumonia.files import write_text
from pneumonia.records.cross_validation import CrossValidated
from pneumonia.records.evaluation import Metric
from pneumonia.statistics.metrics import METRICS, Scored, compute_metrics
from pneumonia.statistics.resampled_mean import resampled_mean

COLUMNS = ("seed", "fold", "path", "sha256", "patient", "label", "probability", "threshold", "copy")
DECISIONS = ("accuracy", "sensitivity", "specificity", "precision", "f1", "balanced_accuracy")
"""Metrics that need a threshold; the others are of the probabilities."""


@dataclass(frozen=True)
class HeldOut:
    """An image that a model of the other folds has scored.

    Attributes:
        seed, fold: of the model.
        path, sha256: of the image's file.
        patient: key, the same for patients who share an identical image.
        label: 1 is PNEUMONIA.
        probability, threshold: of PNEUMONIA, and from which the model classifies an image as such.
        copy: the image repeats an earlier one of its fold, and counts in no interval.
    """

    seed: int
    fold: int
    path: str
    sha256: str
    patient: str
    label: int
    probability: float
    threshold: float
    copy: bool


def write_scores(path: Path, rows: Sequence[HeldOut]) -> Path:
    """Write the table, atomically.

    Raises:
        DataError: it cannot be written.
    """
    page = io.StringIO(newline="")
    writer = csv.writer(page, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        numbers = (row.label, repr(row.probability), repr(row.threshold), int(row.copy))
        writer.writerow([row.seed, row.fold, row.path, row.sha256, row.patient, *numbers])
    return write_text(path, page.getvalue())


def read_scores(path: Path) -> list[HeldOut]:
    """Read a table that `write_scores` wrote.

    Raises:
        DataError: it is missing, or is no such table; names the line.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [_row(row, number) for number, row in enumerate(_rows(file), 2)]
    except OSError as error:
        raise DataError(
            f"{path}: the scores cannot be read ({error.strerror}); run the cross-validation again, which finds what "
            "is finished"
        ) from error
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path}: is no table of scores ({error}); delete it and run the command again") from error


def _rows(file: TextIO) -> Iterator[list[str]]:
    rows = csv.reader(file, strict=True)
    if tuple(next(rows, ())) != COLUMNS:
        raise ValueError(f"line 1 must read {','.join(COLUMNS)}")
    return rows


def _row(row: Sequence[str], number: int) -> HeldOut:
    if len(row) != len(COLUMNS):
        raise ValueError(f"line {number} has {len(row)} columns instead of {len(COLUMNS)}")
    seed, fold, path, sha256, patient, label, probability, threshold, copy = row
    if label not in ("0", "1") or copy not in ("0", "1"):
        raise ValueError(f"line {number}: label and copy are 0 or 1")
    numbers = float(probability), float(threshold)
    if not all(0 <= value <= 1 for value in numbers):
        raise ValueError(f"line {number}: a probability is in 0 to 1")
    return HeldOut(int(seed), int(fold), path, sha256, patient, int(label), *numbers, copy == "1")


def fold_metrics(rows: Sequence[HeldOut], evaluation: EvaluationConfig) -> dict[str, Metric]:
    """Compute the metrics of one model, at its own threshold, with intervals by patient.

    Raises:
        ValueError: rows of several models.
    """
    if len({(row.seed, row.fold, row.threshold) for row in rows}) != 1:
        raise ValueError("a fold's metrics are of one model")
    return compute_metrics(_scored(rows, [row.probability for row in rows], rows[0].threshold), evaluation)


def pooled_metrics(rows: Sequence[HeldOut], evaluation: EvaluationConfig) -> dict[str, Metric]:
    """Compute the metrics of all models' scores together; a patient is drawn with the scores of every seed.

    Each image is decided at the threshold of its own model; ranking and calibration compare the probabilities of all
    models, which are calibrated apart from one another.
    """
    ranked = compute_metrics(_scored(rows, [row.probability for row in rows], 0.5), evaluation)
    decided = compute_metrics(_scored(rows, [float(row.probability >= row.threshold) for row in rows], 0.5), evaluation)
    return {name: (decided if name in DECISIONS else ranked)[name] for name in METRICS}


def _scored(rows: Sequence[HeldOut], probabilities: Sequence[float], threshold: float) -> Scored:
    return Scored(
        np.array([row.label for row in rows]),
        np.array(probabilities),
        [row.patient for row in rows],
        threshold,
        np.array([row.copy for row in rows]),
    )


def over_folds(
    results: Sequence[Mapping[str, Metric]], folds: int, evaluation: EvaluationConfig
) -> dict[str, CrossValidated]:
    """Return mean, spread and interval of every metric over the folds of all seeds."""
    return {
        name: resampled_mean([metrics[name].value for metrics in results], folds, evaluation.confidence)
        for name in METRICS
    }


def check_complete(rows: Sequence[HeldOut], pools: Mapping[int, Mapping[str, str]]) -> None:
    """Check that each image of the pool was held out once a seed, and that no patient is in two folds of a seed.

    Args:
        rows: of all seeds and folds.
        pools: sha256 by path of the images that are dealt into folds, by seed.

    Raises:
        DataError: an image is missing, another, or scored twice; or a patient is in two folds.
    """
    held = Counter((row.seed, row.path, row.sha256) for row in rows)
    wanted = Counter((seed, path, sha256) for seed, pool in pools.items() for path, sha256 in pool.items())
    if held != wanted:
        differing = sorted(key for key in held | wanted if held[key] != wanted[key])
        seed, path, _ = differing[0]
        raise DataError(
            f"the folds' scores are not those of these images: {len(differing)} differ, the first is {path}, scored "
            f"{held[differing[0]]} time(s) with seed {seed} instead of {wanted[differing[0]]}; the data have changed "
            "since: run the command again"
        )
    places: dict[tuple[int, str], int] = {}
    for row in rows:
        if places.setdefault((row.seed, row.patient), row.fold) != row.fold:
            raise DataError(f"patient {row.patient} is in two folds of seed {row.seed}; run the command again")
