"""List the files of a version by digest: weights, export, report, dossier, data and configuration, as its run has them.

Since the list holds digests, whoever has a part of the files, such as a server that has the export alone, can hold that
part against it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from pneumonia.errors import DataError, TrackingError
from pneumonia.records.model import ModelRecord
from pneumonia.records.signature import MANIFEST_FILE, SIGNATURE_FOLDER, Manifest
from pneumonia.registry import models, openings
from pneumonia.tracking.client import download_artifact
from pneumonia.tracking.run_tags import read_tag

FOLDERS = ("weights", "export", "report", "dossier")
"""Artifact folders of a run whose files are listed."""
INPUTS = ("config.json", "data")
"""Artifacts of the training's inputs, which are listed too; not in manifests of earlier releases."""
PARTS = (*FOLDERS, *INPUTS)
COMMIT_TAG = "mlflow.source.git.commit"

logger = logging.getLogger(__name__)


def file_digest(path: Path) -> str:
    """Return the sha256, in hex, of a file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); make it readable, or fetch it again") from None


def collect(folders: Mapping[str, Path]) -> dict[str, str]:
    """Return the digest of every file, by its path in the run, sorted.

    Args:
        folders: folders, or single files, by the artifact folder that they are logged under; a file may also be named
            by its own path in the run.

    Raises:
        DataError: a folder is missing or holds nothing, or a file cannot be read.
    """
    found: dict[str, str] = {}
    for part, place in folders.items():
        if place.is_file():
            name = part if part.rpartition("/")[2] == place.name else f"{part}/{place.name}"
            found[name] = file_digest(place)
            continue
        files = sorted(path for path in place.rglob("*") if path.is_file())
        if not files:
            raise DataError(f"{place}: holds no file to be listed as {part}; run the pipeline again")
        found |= {f"{part}/{path.relative_to(place).as_posix()}": file_digest(path) for path in files}
    return dict(sorted(found.items()))


def compose(uri: str, run_id: str, record: ModelRecord, files: Mapping[str, str]) -> Manifest:
    """Return the manifest of a version's files, with the heads of the ledger and of the register of openings.

    Raises:
        TrackingError: the store cannot be reached.
    """
    return Manifest(
        name=record.name,
        run_id=run_id,
        model_digest=record.model_digest(),
        weights_digest=record.weights_digest,
        data_digest=record.data_digest,
        git_commit=read_tag(uri, run_id, COMMIT_TAG),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        files=dict(files),
        ledger=models.examine_ledger(uri, record.name).head,
        openings=openings.examine(uri).head,
    )


def parts(found: Manifest) -> tuple[str, ...]:
    """Return the artifacts of the run of which a manifest lists every file."""
    return PARTS if found.run_id else FOLDERS


def read(folder: Path) -> Manifest:
    """Read the manifest in a folder ``signature``.

    Raises:
        DataError: there is none, or it is damaged.
    """
    path = folder / MANIFEST_FILE
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError:
        raise DataError(f"{path}: is no manifest; restore the run's artifact from a backup") from None


def fetch(uri: str, run_id: str, folder: Path, parts: tuple[str, ...] = (*PARTS, SIGNATURE_FOLDER)) -> list[str]:
    """Download the files of a run, each part into a folder (or, where it is one file, a file) of its name.

    Returns:
        The parts that the run has.

    Raises:
        TrackingError: the store cannot be reached.
    """
    found = []
    for part in parts:
        try:
            download_artifact(uri, run_id, part, folder)
        except TrackingError as error:
            if not error.permanent:
                raise
            logger.debug("run %s has no %s: %s", run_id, part, error)
        else:
            found.append(part)
    return [part for part in found if (folder / part).is_file() or any((folder / part).rglob("*"))]
