"""Keep the page of a version's dossier beside its exported model, where a service finds it without a registry."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from pneumonia.errors import DataError, TrackingError
from pneumonia.files import write_bytes
from pneumonia.records.dossier import DOSSIER_FOLDER, DOSSIER_PAGE
from pneumonia.records.signature import SIGNATURE_FOLDER
from pneumonia.registry import manifest
from pneumonia.tracking.client import download_artifact

PAGE = f"{DOSSIER_FOLDER}/{DOSSIER_PAGE}"
"""Path of the page in the run, and beside the exported model."""


def fetch_beside(uri: str, run_id: str, folder: Path) -> None:
    """Fetch the page of a run, unless it is there already; a run of an earlier release has none.

    Raises:
        TrackingError: the store cannot be reached.
    """
    if is_beside(folder):
        return
    with tempfile.TemporaryDirectory() as place:
        try:
            found = download_artifact(uri, run_id, PAGE, Path(place))
        except TrackingError as error:
            if not error.permanent:
                raise
        else:
            put_beside(folder, found.read_bytes())


def put_beside(folder: Path, content: bytes) -> None:
    """Write the page beside an exported model."""
    write_bytes(folder / PAGE, content)


def is_beside(folder: Path) -> bool:
    """Return whether the page is beside an exported model."""
    return (folder / PAGE).is_file()


def read_beside(folder: Path) -> bytes | None:
    """Return the page beside an exported model, as it was registered; None where there is none.

    Raises:
        DataError: it is another than the manifest beside it lists, or cannot be read.
    """
    if not is_beside(folder):
        return None
    place = folder / SIGNATURE_FOLDER
    try:
        content = (folder / PAGE).read_bytes()
    except OSError as error:
        raise DataError(f"{folder / PAGE}: cannot be read ({error.strerror}); make it readable") from None
    if place.is_dir() and manifest.read(place).files.get(PAGE) != hashlib.sha256(content).hexdigest():
        raise DataError(f"{folder / PAGE}: is not the page that was registered; remove it, and promote again")
    return content
