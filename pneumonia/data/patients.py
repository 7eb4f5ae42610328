"""Identify the patient of an image."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

_PNEUMONIA = re.compile(r"person(\d+)_(bacteria|virus)_", re.IGNORECASE)

_NORMAL = re.compile(r"((?:NORMAL\d*-)?IM-\d+)(?:-|$)", re.IGNORECASE)


def patient_of(path: str, label: int) -> str:  # noqa: ARG001
    """Return the patient's key from a published file name, independent of the folder.

    Pneumonia patients are numbered separately for bacteria and virus: person1_bacteria_2 and person1_virus_6 are two
    people; a normal image's first number is its patient's (IM-0011-0001-0002, NORMAL2-IM-0027-0001). A file with
    another kind of name is a separate patient, with its stem as the key. The label is not part of the key: an image in
    the wrong folder keeps its patient.
    """
    stem = PurePosixPath(path).stem
    if found := _PNEUMONIA.match(stem):
        return f"{found[2].lower()}-{int(found[1])}"
    if found := _NORMAL.match(stem):
        return found[1].upper()
    return stem
