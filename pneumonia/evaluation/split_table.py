"""Make the table of scored images of a split of a data set."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumonia.data.images import Images
from pneumonia.data.layout import survey
from pneumonia.data.manifest import Entry, Manifest
from pneumonia.data.patients import subtype
from pneumonia.errors import DataError
from pneumonia.evaluation.scored_table import ScoredImage, ScoredTable, brightness, dicom_groups
from pneumonia.imaging import radiograph
from pneumonia.imaging.image_statistics import EXPOSURE
from pneumonia.statistics.metrics import Scored

DICOM = "dicom"
_MEAN = EXPOSURE[0]

logger = logging.getLogger(__name__)


def split_table(
    root: Path, manifest: Manifest, images: Images, scored: Scored, statistics: NDArray[np.float32]
) -> ScoredTable:
    """Return the table of a split's images, in the manifest's order.

    Size, encoding and patient are the manifest's, brightness is the packing's. Age and view, which neither holds, are
    read from the headers of the DICOM files, where these are still there and the same.

    Args:
        root: of the data.
        manifest: of the data.
        images: of the split, [n].
        scored: these images, [n].
        statistics: of all images of the packing (`pneumonia.data.packing.open_statistics`).
    """
    entries = [manifest.entries[row] for row in images.rows]
    headers = _headers(root, entries)
    scores = np.asarray(scored.probabilities, np.float64).tolist()
    found = [
        ScoredImage(
            path=entry.path,
            sha256=entry.sha256,
            patient=entry.patient,
            drawn_with=together,
            patient_source=entry.patient_source,
            label=entry.label,
            probability=probability,
            copy=copy,
            subtype=subtype(entry.patient),
            width=entry.width,
            height=entry.height,
            encoding=entry.encoding,
            brightness=brightness(float(statistics[row, _MEAN])),
            **headers.get(entry.path, {}),
        )
        for entry, together, probability, copy, row in zip(
            entries, images.patients, scores, images.copies.tolist(), images.rows, strict=True
        )
    ]
    return ScoredTable(tuple(found), scored.threshold)


def _headers(root: Path, entries: Sequence[Entry]) -> dict[str, dict[str, str]]:
    """Return age and view of the DICOM files, by path; a file that is gone or has changed is named in a warning."""
    wanted = {entry.path: entry.sha256 for entry in entries if entry.encoding.startswith(DICOM)}
    if not wanted:
        return {}
    from pneumonia.imaging.dicom_header import read_header  # half a second that JPEG sets do not need

    files = _files(root)
    found, gone = {}, []
    for path, digest in wanted.items():
        content = _content(files.get(path))
        if hashlib.sha256(content).hexdigest() == digest:
            found[path] = dicom_groups(read_header(content))
        else:
            gone.append(path)
    if gone:
        logger.warning("%d DICOM files are gone or have changed, so that age and view are not known: %s …",
                       len(gone), gone[0])  # fmt: skip
    return found


def _files(root: Path) -> dict[str, Path]:
    try:
        return {image.path: image.file for image in survey(root).images}
    except DataError:
        return {}  # the folder is gone: each file is named as such


def _content(file: Path | None) -> bytes:
    try:
        return b"" if file is None else radiograph.load(file)
    except radiograph.UnreadableRadiograph:
        return b""
