"""Score a labelled folder and compute its metrics. Not a medical device."""

from __future__ import annotations

import hashlib
import logging
import os
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
from pneumonia.data.layout import KINDS, summarise
from pneumonia.data.listing import Listing, list_files
from pneumonia.data.patient_key import Pseudonyms
from pneumonia.data.patients import Patient
from pneumonia.errors import DataError
from pneumonia.files import is_folder, printable
from pneumonia.imaging import radiograph
from pneumonia.inference.predictor import Predictor
from pneumonia.progress import Progress, silent
from pneumonia.registry.openings import rows_digest
from pneumonia.statistics.metrics import Scored, compute_metrics

LISTED = 20

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Labelled:
    """The images of a labelled folder.

    Attributes:
        labels: file to index into `CLASSES`.
        passed_over: files that are no images, or lie in neither class folder.
        litter: number of hidden files, and of those that operating systems leave behind.
    """

    labels: dict[str, int]
    passed_over: tuple[str, ...]
    litter: int


def find_labelled(folder: Path) -> Labelled:
    """Find the images below ``NORMAL/`` and ``PNEUMONIA/`` of a folder, and the label of each.

    Raises:
        DataError: a class folder is missing or holds no image.
    """
    classes = [_listing_of(folder, name) for name in CLASSES]
    beside = list_files(folder, below=False)
    strangers = [file for file in (*beside.images, *beside.others) if file.name not in {*CLASSES, patients.TABLE}]
    return Labelled(
        labels={str(image): label for label, found in enumerate(classes) for image in found.images},
        passed_over=tuple(sorted(map(str, [*strangers, *(file for found in classes for file in found.others)]))),
        litter=beside.litter + sum(found.litter for found in classes),
    )


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
    paths = {file: printable(Path(file).relative_to(folder).as_posix()) for file in labels}
    table = patients.read_table(folder, list(paths.values()), pseudonyms)
    inside = Path(os.path.abspath(folder))  # noqa: PTH100 — a link keeps the name that it has in the data set
    if table is not None and is_folder(inside.parent / "train"):
        logger.warning(
            "%s: is used here, and not by the pipeline, which reads %s alone",
            folder / patients.TABLE,
            inside.parent / patients.TABLE,
        )
    if table is None:
        table = patients.read_table(inside.parent, list(paths.values()), pseudonyms, f"{inside.name}/")
    found = {}
    for file, path in paths.items():
        identifier = _patient_id(file) if table is None else ""
        pseudonym = pseudonyms.of(identifier) if identifier else ""
        found[file] = patients.identify(path, pseudonym=pseudonym, table=table, by_folder=by_folder)
    _warn_of_patients(folder, found, table is None)
    return found


def _warn_of_patients(folder: Path, found: Mapping[str, Patient], without_table: bool) -> None:
    if in_doubt := patients.doubtful(
        (Path(file).relative_to(folder).as_posix(), patient) for file, patient in found.items()
    ):
        logger.warning("%s: %d %s", folder, in_doubt, patients.DOUBT)
    near = [file.as_posix() for place in (folder, *(folder / name for name in CLASSES)) for file in place.iterdir()]
    if without_table and (tables := patients.misplaced(near)):
        logger.warning("%s: not used; a table must be named %s", ", ".join(tables), patients.TABLE)


def evaluate_folder(
    predictor: Predictor,
    labels: Mapping[str, int],
    known: Mapping[str, Patient],
    config: EvaluationConfig,
    *,
    skip_unreadable: bool = False,
    progress: Progress = silent,
    opening: Callable[[Sequence[str]], None] | None = None,
) -> dict[str, Any]:
    """Score labelled images and compute the metrics.

    Args:
        predictor: the model; its record's threshold is used.
        labels: file to index into `CLASSES`, of `find_labelled`.
        known: file to patient, from `find_patients`.
        config: resamples, coverage and seed of the intervals, which are drawn by patient; a file that is there twice is
            drawn once.
        skip_unreadable: leave out images that cannot be read, and name them in the result.
        progress: called with the images done and all images.
        opening: called with the sha256 of the scored files before a score is held against a label.

    Returns:
        A JSON object: `n` images, each metric of `pneumonia.statistics.metrics.METRICS` as ``{value, low, high}``,
        counts, threshold and model. `patients` are the known ones, None where none is known; `unknown_patients` are
        the images whose patient is not known, each of which is drawn as one of its own; `patient_sources` counts
        the images by source; `copies` are files that repeat another one of the same class; `rows` is the digest of
        all files; `in_both_classes` lists the groups of one file that lies in both, each of which counts once as a
        right and once as a wrong decision.

    Raises:
        DataError: images cannot be read, which is found before any is scored; or none of a class is left.
    """

    def accept(refusals: Sequence[dict[str, Any]]) -> None:
        if refusals and not skip_unreadable:
            raise DataError(_listing(refusals, len(labels)))

    results = predictor.score(list(labels), progress, accept)
    refused = [{"file": result["file"], "reason": result["reason"]} for result in results if "refused" in result]
    scored = [result for result in results if "refused" not in result]
    _check_classes(labels[result["file"]] for result in scored)
    truth = np.array([labels[result["file"]] for result in scored], dtype=np.int64)
    who = [known[result["file"]] for result in scored]
    contents = [_digest(result["file"]) for result in scored]
    if opening is not None:
        opening(contents)
    copies = repeated(contents, truth)
    conflicts = _in_both_classes([result["file"] for result in scored], contents, truth)
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
        "rows": rows_digest(contents),
        "in_both_classes": conflicts,
        "confidence": config.confidence,
        "threshold": threshold,
        "model": predictor.name,
        "version": predictor.version,
        "refused": refused,
    }


def _listing_of(folder: Path, name: str) -> Listing:
    place = folder / name
    if not is_folder(place):
        inner = [child for child in ("test", "chest_xray/test", "chest_xray") if is_folder(folder / child / name)]
        remedy = f"; {folder / inner[0]} has one" if inner else ""
        raise DataError(
            f"{folder}: there is no folder {name}/ in it; name one that holds NORMAL/ and PNEUMONIA/{remedy}"
        )
    found = list_files(place)
    if not found.images:
        words = summarise(found.others, found.litter)
        raise DataError(f"{place}: holds no image ({KINDS}); metrics need both classes{'; ' if words else ''}{words}")
    return found


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
    lines = [f"{printable(image['file'])}: {image['reason']}" for image in refused[:LISTED]]
    if len(refused) > LISTED:
        lines.append(f"and {len(refused) - LISTED} more")
    head = f"{len(refused)} of {total} images cannot be read:"
    return (
        "\n  ".join([head, *lines])
        + "\nReplace or remove them, or leave them out with --on-unreadable skip (data.on_unreadable=skip)."
    )
