"""A labelled folder, scored and put into figures. Not a medical device."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumonia.config.schema import CLASSES, EvaluateConfig
from pneumonia.data.layout import SUFFIXES, find_files
from pneumonia.data.patients import patient_of
from pneumonia.errors import DataError
from pneumonia.inference.predictor import Predictor
from pneumonia.progress import Progress, silent
from pneumonia.statistics.metrics import compute_metrics

LISTED = 20

logger = logging.getLogger(__name__)


def find_labelled(folder: Path) -> dict[str, int]:
    """Find the films in ``NORMAL/`` and ``PNEUMONIA/`` of a folder, in all depths, and the label of each.

    Raises:
        DataError: a class folder is missing or holds no film.
    """
    return {str(film): label for label, name in enumerate(CLASSES) for film in _films(folder, name)}


def evaluate_folder(
    predictor: Predictor,
    labels: Mapping[str, int],
    config: EvaluateConfig,
    *,
    skip_unreadable: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Score labelled films.

    Args:
        predictor: the model; its record's threshold is used.
        labels: file to index into `CLASSES`, from `find`.
        config: resamples, coverage and seed of the intervals, which are drawn by patient.
        skip_unreadable: leave films that cannot be read out, and name them in the result.
        progress: called with the images done and all images.

    Returns:
        A JSON object: `n` films, each figure of `evaluate.NAMES` as ``{value, low, high}``, and what they were made of.

    Raises:
        DataError: films cannot be read.
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
    figures = compute_metrics(truth, scores, patients, threshold, config)
    if refused:
        logger.warning("%d films that cannot be read are left out", len(refused))
    return {
        "n": len(scored),
        **{name: figure.model_dump() for name, figure in figures.items()},
        "counts": {name: int(np.sum(truth == label)) for label, name in enumerate(CLASSES)},
        "patients": len(set(patients)),
        "confidence": config.confidence,
        "threshold": threshold,
        "model": predictor.name,
        "version": predictor.version,
        "refused": refused,
    }


def _films(folder: Path, name: str) -> list[Path]:
    place = folder / name
    if not place.is_dir():
        inner = [child for child in ("test", "chest_xray/test", "chest_xray") if (folder / child / name).is_dir()]
        remedy = f"; {folder / inner[0]} has one" if inner else ""
        raise DataError(
            f"{folder}: there is no folder {name}/ in it; name one that holds NORMAL/ and PNEUMONIA/{remedy}"
        )
    if not (films := find_files(place)):
        raise DataError(f"{place}: holds no film ({', '.join(sorted(SUFFIXES))}); figures need both classes")
    return films


def _patient(file: str, label: int) -> str:
    # The class keeps apart what only files of other names can share: NORMAL/1.png and PNEUMONIA/1.png.
    return f"{CLASSES[label]} {patient_of(file, label)}"


def _listing(refused: Sequence[dict[str, str]], total: int) -> str:
    lines = [f"{film['file']}: {film['reason']}" for film in refused[:LISTED]]
    if len(refused) > LISTED:
        lines.append(f"and {len(refused) - LISTED} more")
    head = f"{len(refused)} of {total} films cannot be read:"
    return "\n  ".join([head, *lines]) + "\nMend or remove them, or leave them out with --on-unreadable skip."
