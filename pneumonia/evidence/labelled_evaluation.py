"""Score a labelled folder and assess the model on it. Not a medical device."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumonia.config.schema import CLASSES, EvaluationConfig
from pneumonia.data import patients
from pneumonia.data.images import repeated
from pneumonia.data.patients import Patient
from pneumonia.errors import DataError
from pneumonia.evaluation.assessment import assess
from pneumonia.evaluation.scored_table import ScoredImage, ScoredTable, brightness, dicom_groups
from pneumonia.files import printable
from pneumonia.imaging.image_statistics import measure_exposure
from pneumonia.imaging.radiograph import Radiograph
from pneumonia.inference.labelled_folder import Labelled
from pneumonia.inference.predictor import Predictor
from pneumonia.progress import Progress, silent
from pneumonia.records.assessment import Assessment
from pneumonia.registry.openings import rows_digest
from pneumonia.statistics.metrics import METRICS

LISTED = 20

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation of a labelled folder has found.

    Attributes:
        assessment: of the images.
        table: that it was computed from.
        files: [n], of the table's images.
        document: a JSON object, see `evaluate_folder`.
    """

    assessment: Assessment
    table: ScoredTable
    files: tuple[str, ...]
    document: dict[str, Any]


def evaluate_folder(
    predictor: Predictor,
    images: Labelled,
    known: Mapping[str, Patient],
    config: EvaluationConfig,
    *,
    skip_unreadable: bool = False,
    progress: Progress = silent,
    opening: Callable[[Sequence[str]], None] | None = None,
) -> Evaluated:
    """Score labelled images and assess the model on them.

    Args:
        predictor: the model; its record's threshold is used.
        images: of `find_labelled`.
        known: file to patient, from `find_patients`.
        config: resamples, coverage and seed of the intervals, which are drawn by patient; a file that is there twice is
            drawn once.
        skip_unreadable: leave out images that cannot be read, and name them in the result.
        progress: called with the images done and all images.
        opening: called with the sha256 of the scored files before a score is held against a label.

    Returns:
        The assessment, and a document with it: `n` images, each metric of `pneumonia.statistics.metrics.METRICS` as
        ``{value, low, high}``, counts, threshold and model. `patients` are the known ones, None where none is known;
        `unknown_patients` are the images whose patient is not known, each of which is drawn as one of its own;
        `patient_sources` counts the images by source; `copies` are files that repeat another one of the same class;
        `rows` is the digest of all files; `in_both_classes` lists the groups of one file that lies in both, each of
        which counts once as a right and once as a wrong decision.

    Raises:
        DataError: images cannot be read, which is found before any is scored; or none of a class is left.
    """
    labels, seen = images.labels, dict[str, dict[str, Any]]()

    def accept(refusals: Sequence[dict[str, Any]]) -> None:
        if refusals and not skip_unreadable:
            raise DataError(_listing(refusals, len(labels)))

    def look(file: str, image: Radiograph) -> None:
        seen[file] = _attributes(image)

    results = predictor.score(list(labels), progress, accept, look)
    refused = [{"file": result["file"], "reason": result["reason"]} for result in results if "refused" in result]
    scored = [result for result in results if "refused" not in result]
    files = tuple(result["file"] for result in scored)
    _check_classes(labels[file] for file in files)
    contents = [_digest(file) for file in files]
    if opening is not None:
        opening(contents)
    if refused:
        logger.warning("%d images that cannot be read are left out", len(refused))
    scores = [float(result["probability"]) for result in scored]
    table = _table(images, known, files, contents, scores, seen, predictor.record.threshold)
    found = assess(table, config, f"the images of {printable(images.folder.name) or images.folder}")
    document = {
        "n": len(scored),
        **{name: found.metrics[name].model_dump() for name in METRICS},
        "counts": {CLASSES[0]: found.negatives, CLASSES[1]: found.positives},
        **_summary([known[file] for file in files]),
        "copies": found.copies,
        "rows": rows_digest(contents),
        "in_both_classes": _in_both_classes(files, contents, table.labels),
        "confidence": config.confidence,
        "threshold": table.threshold,
        "model": predictor.name,
        "version": predictor.version,
        "refused": refused,
        "assessment": found.model_dump(mode="json"),
    }
    return Evaluated(found, table, files, document)


def _attributes(image: Radiograph) -> dict[str, Any]:
    """Return the columns of a table of scores that the image itself gives."""
    return {
        "width": image.width,
        "height": image.height,
        "encoding": image.encoding,
        "brightness": brightness(float(measure_exposure(image.levels)[0])),
        **dicom_groups(image.attributes),
    }


def _table(
    images: Labelled,
    known: Mapping[str, Patient],
    files: Sequence[str],
    contents: Sequence[str],
    scores: Sequence[float],
    seen: Mapping[str, dict[str, Any]],
    threshold: float,
) -> ScoredTable:
    truth = np.array([images.labels[file] for file in files], dtype=np.int64)
    drawn = patients.join_identical([known[file].key for file in files], contents)
    columns = zip(files, contents, drawn, scores, truth.tolist(), repeated(contents, truth).tolist(), strict=True)
    rows = [
        ScoredImage(
            path=printable(Path(file).relative_to(images.folder).as_posix()),
            sha256=content,
            patient=printable(known[file].key),
            drawn_with=printable(together),
            patient_source=known[file].source,
            label=label,
            probability=score,
            copy=copy,
            subtype=patients.subtype(known[file].key),
            **seen.get(file, {}),
        )
        for file, content, together, score, label, copy in columns
    ]
    return ScoredTable(tuple(rows), threshold)


def _check_classes(labels: Iterable[int]) -> None:
    for label in set(range(len(CLASSES))) - set(labels):
        raise DataError(f"{CLASSES[label]}: no image can be read, and metrics need both classes; replace the files")


def _in_both_classes(files: Sequence[str], contents: Sequence[str], truth: NDArray[np.int64]) -> list[list[str]]:
    """Return the groups of equal files that lie in both classes, and warn of them: one of the labels is wrong."""
    groups: dict[str, list[int]] = {}
    for position, content in enumerate(contents):
        groups.setdefault(content, []).append(position)
    found = [[files[position] for position in group] for group in groups.values() if len({*truth[group].tolist()}) > 1]
    if found:
        named = "; ".join(" = ".join(map(printable, group)) for group in found[:LISTED])
        logger.warning(
            "warning: %d images lie in both classes, so that one label of each is wrong; the pipeline would stop: %s",
            len(found),
            named,
        )
    return found


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
    lines = [f"{printable(image['file'])}: {image['reason']}" for image in refused[:LISTED]]
    if len(refused) > LISTED:
        lines.append(f"and {len(refused) - LISTED} more")
    head = f"{len(refused)} of {total} images cannot be read:"
    return (
        "\n  ".join([head, *lines])
        + "\nReplace or remove them, or leave them out with --on-unreadable skip (data.on_unreadable=skip)."
    )
