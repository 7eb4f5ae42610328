"""Read what a DICOM file says about its image: modality, body part, view, age. Nothing that identifies a person."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydicom.dataset import Dataset

from pneumonia.imaging.refusal import DicomAttributes

ATTRIBUTES = (
    "SOPClassUID",
    "Modality",
    "BodyPartExamined",
    "ViewPosition",
    "PatientAge",
    "PatientOrientation",
    "AnatomicRegionSequence",
    "ViewCodeSequence",
)
"""The elements that are read."""

_AGE = re.compile(r"(\d{1,3})\s*([DWMY]?)")
_IN_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0, "": 1.0}
_LONGEST = 32


def read_attributes(dataset: Dataset) -> DicomAttributes:
    """Read the attributes of a data set; those that are damaged count as empty, since they do not change the image."""
    age = _AGE.fullmatch(_text(dataset, "PatientAge"))
    return DicomAttributes(
        storage=_text(dataset, "SOPClassUID", 64),
        modality=_text(dataset, "Modality"),
        body_part=_text(dataset, "BodyPartExamined") or _meaning(dataset, "AnatomicRegionSequence"),
        view=_text(dataset, "ViewPosition") or _meaning(dataset, "ViewCodeSequence"),
        orientation=tuple(_plain(value) for value in _values(dataset, "PatientOrientation")[:2]),
        age=int(age[1]) * _IN_YEARS[age[2]] if age else None,
    )


def _values(dataset: Dataset, name: str) -> list[object]:
    try:
        value = dataset.get(name)
    except Exception:  # noqa: BLE001 — pydicom raises many kinds for values that no writer may write
        return []
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return list(value)
    return [] if value is None else [value]


def _text(dataset: Dataset, name: str, longest: int = _LONGEST) -> str:
    return _plain(next(iter(_values(dataset, name)), ""), longest)


def _plain(value: object, longest: int = _LONGEST) -> str:
    decoded = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return "".join(letter for letter in decoded if letter.isprintable()).strip()[:longest].upper()


def _meaning(dataset: Dataset, name: str) -> str:
    first = next(iter(_values(dataset, name)), None)
    return _text(first, "CodeMeaning") if isinstance(first, Dataset) else ""
