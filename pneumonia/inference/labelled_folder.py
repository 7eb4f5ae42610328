"""Find the images of a labelled folder, and their patients."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pneumonia.config.schema import CLASSES
from pneumonia.data import patients
from pneumonia.data.layout import KINDS, summarise
from pneumonia.data.listing import Listing, list_files
from pneumonia.data.patient_key import Pseudonyms
from pneumonia.data.patients import Patient
from pneumonia.errors import DataError
from pneumonia.files import is_folder, printable
from pneumonia.imaging import radiograph

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Labelled:
    """The images of a labelled folder.

    Attributes:
        folder: that holds ``NORMAL/`` and ``PNEUMONIA/``.
        labels: file to index into `CLASSES`.
        passed_over: files that are no images, or lie in neither class folder.
        litter: number of hidden files, and of those that operating systems leave behind.
    """

    folder: Path
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
        folder=folder,
        labels={str(image): label for label, found in enumerate(classes) for image in found.images},
        passed_over=tuple(sorted(map(str, [*strangers, *(file for found in classes for file in found.others)]))),
        litter=beside.litter + sum(found.litter for found in classes),
    )


def find_patients(folder: Path, labels: Mapping[str, int], *, by_folder: bool = False) -> dict[str, Patient]:
    """Find the patient of each file, by the precedence of `pneumonia.data.patients`.

    A table is looked for in the folder, and in the one above it where that is a data set's root. The keys are
    pseudonyms of this call, which say who is whom in its own results alone; no key of the site is needed.

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
