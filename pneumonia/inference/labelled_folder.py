"""Score a labelled folder and compute its metrics. Not a medical device."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumonia.config.schema import CLASSES, EvaluationConfig
from pneumonia.data.layout import SUFFIXES, find_files
from pneumonia.data.patients import patient_of
from pneumonia.errors import DataError
from pneumonia.inference.predictor import Predictor
from pneumonia.progress import Progress, silent
from pneumonia.statistics.metrics import Scored, compute_metrics

LISTED = 20

logger = logging.getLogger(__name__)


def find_labelled(folder: Path) -> dict[str, int]:
    """Find the images below ``NORMAL/`` and ``PNEUMONIA/`` of a folder, and the label of each.

    Raises:
        DataError: a class folder is missing or holds no image.
    """
    return {str(image): label for label, name in enumerate(CLASSES) for image in _images(folder, name)}


def evaluate_folder(
    predictor: Predictor,
    labels: Mapping[str, int],
    config: EvaluationConfig,
    *,
    skip_unreadable: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Score labelled images and compute the metrics.

    Args:
        predictor: the model; its record's threshold is used.
        labels: file to index into `CLASSES`, from `find_labelled`.
        config: resamples, coverage and seed of the intervals, which are drawn by patient.
        skip_unreadable: leave out images that cannot be read, and name them in the result.
        progress: called with the images done and all images.

    Returns:
        A JSON object: `n` images, each metric of `pneumonia.statistics.metrics.METRICS` as ``{value, low, high}``,
        counts, patients, threshold and model.

    Raises:
        DataError: images cannot be read.
    """
    results = predictor.score(list(labels), progress)
    refused = [{"file": result["file"], "reason": result["reason"]} for result in results if "refused" in result]
    if refused and not skip_unreadable:
        raise DataError(_listing(refused, len(results)))
    scored = [result for result in results if "refused" not in result]
    truth = np.array([labels[result["file"]] for result in scored], dtype=np.int64)
    patients = [_patient(result["file"], labels[result["file"]]) for result in scored]
    threshold = predictor.record.threshold
    scores = np.array([result["probability"] for result in scored])
    metrics = compute_metrics(Scored(truth, scores, patients, threshold), config)
    if refused:
        logger.warning("%d images that cannot be read are left out", len(refused))
    return {
        "n": len(scored),
        **{name: metric.model_dump() for name, metric in metrics.items()},
        "counts": {name: int(np.sum(truth == label)) for label, name in enumerate(CLASSES)},
        "patients": len(set(patients)),
        "confidence": config.confidence,
        "threshold": threshold,
        "model": predictor.name,
        "version": predictor.version,
        "refused": refused,
    }


def _images(folder: Path, name: str) -> list[Path]:
    place = folder / name
    if not place.is_dir():
        inner = [child for child in ("test", "chest_xray/test", "chest_xray") if (folder / child / name).is_dir()]
        remedy = f"; {folder / inner[0]} has one" if inner else ""
        raise DataError(
            f"{folder}: there is no folder {name}/ in it; name one that holds NORMAL/ and PNEUMONIA/{remedy}"
        )
    if not (images := find_files(place)):
        raise DataError(f"{place}: holds no image ({', '.join(sorted(SUFFIXES))}); metrics need both classes")
    return images


def _patient(file: str, label: int) -> str:
    # The class distinguishes files of the same name that are of different patients: NORMAL/1.png and PNEUMONIA/1.png.
    return f"{CLASSES[label]} {patient_of(file, label)}"


def _listing(refused: Sequence[dict[str, str]], total: int) -> str:
    lines = [f"{image['file']}: {image['reason']}" for image in refused[:LISTED]]
    if len(refused) > LISTED:
        lines.append(f"and {len(refused) - LISTED} more")
    head = f"{len(refused)} of {total} images cannot be read:"
    return "\n  ".join([head, *lines]) + "\nReplace or remove them, or leave them out with --on-unreadable skip."
