"""Identify the patient of an image: from a table, DICOM's PatientID, a folder of its own, or a published name.

The first source that knows the patient is used:

1. ``patients.csv`` in the data's root, with the columns path and patient, one row for every image;
2. the PatientID of a DICOM file;
3. the folder below the class folder, where ``data.patients=folder`` says that a folder is a patient;
4. the name, if it follows the pattern of the published set, or that of ``pneumonia data ingest``.

An image whose patient no source knows counts as a patient of its own. Identifiers of the first two sources are replaced
by pseudonyms (`pneumonia.data.patient_key`) before they are stored anywhere.
"""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pneumonia.config.schema import CLASSES
from pneumonia.data.patient_key import PSEUDONYM, Pseudonyms
from pneumonia.errors import DataError
from pneumonia.files import printable

log = logging.getLogger(__name__)

TABLE = "patients.csv"
SOURCES = {
    "table": TABLE,
    "dicom": "DICOM PatientID",
    "folder": "a folder a patient (data.patients=folder)",
    "name": "published file names",
    "none": "not known",
}
"""How a patient can be known, and how that is called in reports; in order of precedence."""
UNKNOWN = "none"
LISTED = 20

PUBLISHED_AGES = (1.0, 5.0)
"""Lowest and highest age in years of the patients of the published set (Kermany et al., Cell 172, 2018: "pediatric
patients of one to five years old"). Its files do not say it; a set is known as that one by its files' names."""

_PNEUMONIA = re.compile(r"person(\d+)_(bacteria|virus)_", re.IGNORECASE)
_INGESTED = re.compile(rf"site_({PSEUDONYM.pattern})_")
_NORMAL = re.compile(r"((?:NORMAL\d*-)?IM-\d+)(?:-|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Patient:
    """A patient's key, and its source, one of `SOURCES`."""

    key: str
    source: str


def identify(
    path: str, *, pseudonym: str = "", table: Mapping[str, str] | None = None, by_folder: bool = False
) -> Patient:
    """Return the patient of an image.

    Args:
        path: relative to the data's root, with forward slashes.
        pseudonym: of the file's PatientID, empty where it has none.
        table: of `read_table`; it takes precedence and knows every image.
        by_folder: a folder below the class folder is a patient.
    """
    if table is not None:
        return Patient(table[path], "table")
    if pseudonym:
        return Patient(pseudonym, "dicom")
    if by_folder and (folder := own_folder(path)):
        return Patient(f"folder {folder}", "folder")
    if named := patient_of_name(PurePosixPath(path).stem):
        return Patient(named, "name")
    return Patient(path, UNKNOWN)


def patient_of_name(stem: str) -> str | None:
    """Return the patient's key from a published or an ingested file name, independent of the folder; otherwise None.

    Pneumonia patients are numbered separately for bacteria and virus: person1_bacteria_2 and person1_virus_6 are two
    people; a normal image's first number is its patient's (IM-0011-0001-0002, NORMAL2-IM-0027-0001). An ingested file's
    name holds the pseudonym of the PatientID that the original file had (site_id-0123456789abcdef_…).
    """
    if found := _INGESTED.match(stem):
        return found[1]
    if found := _PNEUMONIA.match(stem):
        return f"{found[2].lower()}-{int(found[1])}"
    if found := _NORMAL.match(stem):
        return found[1].upper()
    return None


def subtype(patient: str) -> str:
    """Return bacteria or virus, which a key of the published names begins with; empty for every other key."""
    kind, _, number = patient.partition("-")
    return kind if kind in ("bacteria", "virus") and number.isdecimal() else ""


def own_folder(path: str) -> str | None:
    """Return the folder just below the class folder; one of the same name in another class or split is the same."""
    parts = PurePosixPath(path).parts
    place = next((at for at, part in enumerate(parts) if part in CLASSES), None)
    return parts[place + 1] if place is not None and place + 2 < len(parts) else None


def doubtful(known: Iterable[tuple[str, Patient]]) -> int:
    """Count the images whose name is taken for a published one, while folders below the class folder contradict it.

    Devices and exporters number files like the published set (IM-0037-0001), with the number of a series or an image.
    Where each patient has a folder, such names either divide one patient or join several.

    Args:
        known: path and patient of each image.

    Returns:
        The number of images in folders whose images' names tell several patients, or share one with another folder.
    """
    names: dict[str, set[str]] = {}
    folders: dict[str, set[str]] = {}
    places: list[tuple[str, str]] = []
    for path, patient in known:
        if patient.source == "name" and (folder := own_folder(path)):
            names.setdefault(folder, set()).add(patient.key)
            folders.setdefault(patient.key, set()).add(folder)
            places.append((folder, patient.key))
    if len(names) < 2:
        return 0
    return sum(len(names[folder]) > 1 or len(folders[key]) > 1 for folder, key in places)


DOUBT = (
    "images are named like the published set, and lie in folders that contradict the patients in their names; where "
    "each folder is a patient, set data.patients=folder"
)
"""What is said of the images that `doubtful` counts, after their number."""


TABLE_PLACE = f"a table must be named {TABLE}, in small letters, and lie in the data's root, with the paths from there"


def misplaced(files: Iterable[str]) -> list[str]:
    """Return the files that look like a table of patients and are none: in another folder, or named in another way."""
    return [file for file in files if _TABLE_LIKE.fullmatch(PurePosixPath(file).name)]


_TABLE_LIKE = re.compile(r"patients?(\.[a-z]+)?\.(csv|tsv|txt|xlsx?|ods)", re.IGNORECASE)


def read_table(root: Path, paths: Sequence[str], pseudonyms: Pseudonyms, prefix: str = "") -> dict[str, str] | None:
    """Read ``patients.csv`` of a folder: the pseudonym of each image's patient; None without such a file.

    Args:
        root: the folder.
        paths: of the images, relative to the data's root; every one must be listed.
        pseudonyms: of the site; an identifier that has the form of one already stays.
        prefix: what the table's paths start with, if `paths` lie in a part of the data.

    Raises:
        DataError: the table cannot be read, or an image is missing in it; the images are named.
    """
    file = root / TABLE
    if not file.is_file():
        return None
    listed = _rows(file)
    missing = [path for path in paths if prefix + path not in listed]
    if missing:
        shown = [prefix + path for path in missing[:LISTED]]
        more = [f"and {len(missing) - LISTED} more"] if len(missing) > LISTED else []
        raise DataError(
            "\n  ".join([f"{file}: {len(missing)} of {len(paths)} images are not listed:", *shown, *more])
            + "\nAdd a row (path, patient) for each; paths are relative to the folder of the table."
            + _written_otherwise(listed, {prefix + path for path in missing})
        )
    if not prefix and (strange := sorted(set(listed) - set(paths))):
        log.warning("%s: %d rows name no image, and are not used (first: %s)", file, len(strange), strange[0])
    found = {path: listed[prefix + path] for path in paths}
    return {path: who if PSEUDONYM.fullmatch(who) else pseudonyms.of(who) for path, who in found.items()}


def _written_otherwise(listed: Iterable[str], missing: set[str]) -> str:
    """Return a hint where rows name the missing images in another notation."""
    folded = {path.casefold() for path in missing}
    for path in listed:
        parts = path.replace("\\", "/").casefold().split("/")
        if path not in missing and any("/".join(parts[at:]) in folded for at in range(len(parts))):
            return f" A row has {path!r}: write it as above, with / and the same letters, without ./ and without a root"
    return ""


def _rows(file: Path) -> dict[str, str]:
    """Return the patient of every path that is listed."""
    listed: dict[str, str] = {}
    try:
        with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
            rows = csv.DictReader(lines, strict=True)
            if not {"path", "patient"} <= set(rows.fieldnames or ()):
                raise DataError(
                    f"{file}: line 1 must name the columns path and patient, separated by a comma; {_first_line(file)}"
                )
            for row in rows:
                path, patient = printable((row["path"] or "").strip()), (row["patient"] or "").strip()
                if not path or not patient:
                    raise DataError(f"{file}: line {rows.line_num}: path or patient is empty; give both")
                if listed.setdefault(path, patient) != patient:
                    raise DataError(f"{file}: line {rows.line_num}: {path} is listed with two patients; remove one")
    except (OSError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as a table ({error}); save it as CSV with commas") from error
    return listed


def _first_line(file: Path) -> str:
    """Say what the first line of a table is instead; never its words where they may be a patient's."""
    content = file.read_bytes()
    if not content.strip():
        return "the file is empty"
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content[:200]:
        return "it is saved as UTF-16 or is no text; save it as CSV in UTF-8"
    line = content.splitlines()[0].decode("utf-8-sig", "replace")
    for letter, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if letter in line and "," not in line:
            return f"it is separated by {name}; save it with commas"
    columns = [column.strip().strip('"') for column in line.split(",")]
    if {"path", "patient"} <= {column.casefold() for column in columns}:
        return "it has them in other letters or with blanks; write them as here"
    if any("/" in column or "\\" in column or "." in column for column in columns):
        return "it looks like a row of images; put the line path,patient above it"
    return f"it has {', '.join(map(printable, columns[:10]))}"


def join_identical(patients: Sequence[str], contents: Sequence[str]) -> list[str]:
    """Give one key to all patients that share an identical image, directly or through others.

    Whoever has an image of two names is probably one person; if not, the image still must not be on both sides.

    Args:
        patients: [n] keys.
        contents: [n] digests of the images' pixels; an empty one is equal to none.

    Returns:
        [n] keys: the first in alphabetical order of those that are joined, so that others keep theirs.
    """
    parent: dict[str, str] = {}

    def find(patient: str) -> str:
        while (above := parent.get(patient, patient)) != patient:
            parent[patient] = parent.get(above, above)  # halves the path, so that a long chain stays cheap
            patient = above
        return patient

    owner: dict[str, str] = {}
    for patient, content in zip(patients, contents, strict=True):
        one, other = find(patient), find(owner.setdefault(content, patient) if content else patient)
        if one != other:
            parent[max(one, other)] = min(one, other)
    return [find(patient) for patient in patients]


def unknown(sources: Iterable[str]) -> int:
    """Count the images whose patient is not known."""
    return sum(source == UNKNOWN for source in sources)
