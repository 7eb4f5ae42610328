"""Score a labelled folder and compute its metrics. Not a medical device."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumonia.config.schema import CLASSES, EvaluationConfig
from pneumonia.data import patients
from pneumonia.data.images import repeated
from pneumonia.data.layout import SUFFIXES, find_files
from pneumonia.data.patient_key import Pseudonyms
from pneumonia.data.patients import Patient
from pneumonia.errors import DataError
from pneumonia.imaging import radiograph
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


def find_patients(folder: Path, labels: Mapping[str, int], *, by_folder: bool = False) -> dict[str, Patient]:
    """Find the patient of each file, by the precedence of `pneumonia.data.patients`.

    A table is looked for in the folder, and in the one above it where that is a data set's root. The keys are
    pseudonyms of this call; no key of the site is needed, because none of them is put out.

    Args:
        folder: holds ``NORMAL/`` and ``PNEUMONIA/``.
        labels: of `find_labelled`.
        by_folder: a folder below the class folder is a patient.

    Raises:
        DataError: ``patients.csv`` cannot be read, or does not list every image.
    """
    pseudonyms = Pseudonyms()
    paths = {file: Path(file).relative_to(folder).as_posix() for file in labels}
    table = patients.read_table(folder, list(paths.values()), pseudonyms)
    if table is None:
        inside = Path(os.path.abspath(folder))  # noqa: PTH100 — a link keeps the name that it has in the data set
        table = patients.read_table(inside.parent, list(paths.values()), pseudonyms, f"{inside.name}/")
    found = {}
    for file, path in paths.items():
        identifier = _patient_id(file) if table is None else ""
        pseudonym = pseudonyms.of(identifier) if identifier else ""
        found[file] = patients.identify(path, pseudonym=pseudonym, table=table, by_folder=by_folder)
    return found


def evaluate_folder(
    predictor: Predictor,
    labels: Mapping[str, int],
    known: Mapping[str, Patient],
    config: EvaluationConfig,
    *,
    skip_unreadable: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Score labelled images and compute the metrics.

    Args:
        predictor: the model; its record's threshold is used.
        labels: file to index into `CLASSES`, from `find_labelled`.
        known: file to patient, from `find_patients`.
        config: resamples, coverage and seed of the intervals, which are drawn by patient; a file that is there twice is
            drawn once.
        skip_unreadable: leave out images that cannot be read, and name them in the result.
        progress: called with the images done and all images.

    Returns:
        A JSON object: `n` images, each metric of `pneumonia.statistics.metrics.METRICS` as ``{value, low, high}``,
        counts, threshold and model. `patients` are the known ones, None where none is known; `unknown_patients` are
        the images whose patient is not known, each of which is drawn as one of its own; `patient_sources` counts
        the images by source; `copies` are files that repeat another one of the same class.

    Raises:
        DataError: images cannot be read.
    """
    results = predictor.score(list(labels), progress)
    refused = [{"file": result["file"], "reason": result["reason"]} for result in results if "refused" in result]
    if refused and not skip_unreadable:
        raise DataError(_listing(refused, len(results)))
    scored = [result for result in results if "refused" not in result]
    truth = np.array([labels[result["file"]] for result in scored], dtype=np.int64)
    who = [known[result["file"]] for result in scored]
    contents = [_digest(result["file"]) for result in scored]
    copies = repeated(contents, truth)
    threshold = predictor.record.threshold
    scores = np.array([result["probability"] for result in scored])
    drawn = patients.join_identical([patient.key for patient in who], contents)
    metrics = compute_metrics(Scored(truth, scores, drawn, threshold, copies), config)
    if refused:
        logger.warning("%d images that cannot be read are left out", len(refused))
    return {
        "n": len(scored),
        **{name: metric.model_dump() for name, metric in metrics.items()},
        "counts": {name: int(np.sum(truth == label)) for label, name in enumerate(CLASSES)},
        **_summary(who),
        "copies": int(copies.sum()),
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


def _patient_id(file: str) -> str:
    """Return a DICOM file's PatientID, empty where there is none; a file that cannot be read is refused later."""
    try:
        with Path(file).open("rb") as opened:
            if not radiograph.is_dicom(opened.read(radiograph.DICOM_WITHIN)):
                return ""
        from pneumonia.imaging.dicom import read_patient_id

        return read_patient_id(radiograph.load(file))
    except (OSError, radiograph.UnreadableRadiograph):
        return ""


def _digest(file: str) -> str:
    with Path(file).open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _summary(who: Sequence[Patient]) -> dict[str, Any]:
    sources = Counter(patient.source for patient in who)
    known = {patient.key for patient in who if patient.source != patients.UNKNOWN}
    return {
        "patients": len(known) or None,
        "unknown_patients": sources[patients.UNKNOWN],
        "patient_sources": {name: sources[name] for name in patients.SOURCES if sources[name]},
    }


def _listing(refused: Sequence[dict[str, str]], total: int) -> str:
    lines = [f"{image['file']}: {image['reason']}" for image in refused[:LISTED]]
    if len(refused) > LISTED:
        lines.append(f"and {len(refused) - LISTED} more")
    head = f"{len(refused)} of {total} images cannot be read:"
    return "\n  ".join([head, *lines]) + "\nReplace or remove them, or leave them out with --on-unreadable skip."
