"""A table of scored images, from which every metric of an assessment can be computed again."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumonia.config.schema import CLASSES
from pneumonia.data.patients import SOURCES, UNKNOWN
from pneumonia.errors import DataError
from pneumonia.files import write_text
from pneumonia.imaging.refusal import DicomAttributes
from pneumonia.statistics.metrics import Scored

AGES = ((1, "under 1 year"), (6, "1 to 5 years"), (18, "6 to 17 years"), (65, "18 to 64 years"))
OLDEST = "65 years and older"
VIEWS = ("PA", "AP")
OTHER_VIEW = "other"


@dataclass(frozen=True, slots=True)
class ScoredImage:
    """An image with its score, and the attributes that slices are made by; nothing that identifies a person.

    Attributes:
        path: printable (`pneumonia.files.printable`), relative to the data's root or the evaluated folder.
        sha256: of the file.
        patient: key.
        drawn_with: key of the patients that are drawn together, because they share an identical image.
        patient_source: one of `pneumonia.data.patients.SOURCES`.
        label: index into `CLASSES`.
        probability: of PNEUMONIA.
        copy: repeats an earlier image of its class.
        subtype: bacteria or virus, as published names say; empty otherwise.
        width, height: of the original, pixels.
        encoding: see `pneumonia.imaging.radiograph.Radiograph`.
        brightness: mean grey level inside the frame before any equalisation, share of full scale; None: not measured.
        age: group of the patient's age, as DICOM says it (`age_group`); empty otherwise.
        view: as DICOM says it (`view_group`); empty otherwise.
    """

    path: str
    sha256: str
    patient: str
    drawn_with: str
    patient_source: str
    label: int
    probability: float
    copy: bool = False
    subtype: str = ""
    width: int = 0
    height: int = 0
    encoding: str = ""
    brightness: float | None = None
    age: str = ""
    view: str = ""


COLUMNS = (*(field.name for field in fields(ScoredImage)), "threshold")
_INTEGERS = frozenset({"label", "width", "height"})
_NUMBERS = frozenset({"probability", "brightness"})


@dataclass(frozen=True)
class ScoredTable:
    """Scored images, and the threshold from which one is classified as PNEUMONIA."""

    images: tuple[ScoredImage, ...]
    threshold: float

    @property
    def scored(self) -> Scored:
        """What metrics are computed from."""
        return Scored(
            self.labels,
            self.probabilities,
            [image.drawn_with for image in self.images],
            self.threshold,
            np.array([image.copy for image in self.images], np.bool_),
        )

    @property
    def labels(self) -> NDArray[np.int64]:
        """Int64 [n], 1 for PNEUMONIA."""
        return np.array([image.label for image in self.images], np.int64)

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Float64 [n]."""
        return np.array([image.probability for image in self.images], np.float64)

    def with_probabilities(self, probabilities: Sequence[float]) -> ScoredTable:
        """Return the table of the same images with another model's probabilities, at the same threshold."""
        pairs = zip(self.images, probabilities, strict=True)
        return ScoredTable(tuple(replace(image, probability=value) for image, value in pairs), self.threshold)

    def write(self, path: Path) -> Path:
        """Write the table as CSV, atomically; numbers in the shortest form that gives the same number again.

        Raises:
            DataError: the file cannot be written.
        """
        page = io.StringIO()
        writer = csv.writer(page, lineterminator="\n")
        writer.writerow(COLUMNS)
        for image in self.images:
            writer.writerow([_text(getattr(image, name)) for name in COLUMNS[:-1]] + [repr(self.threshold)])
        return write_text(path, page.getvalue())

    @classmethod
    def read(cls, path: Path) -> ScoredTable:
        """Read a CSV that `write` wrote.

        Raises:
            DataError: the file is missing or is not such a table; names the line.
        """
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = csv.reader(file, strict=True)
                if (head := tuple(next(rows, ()))) != COLUMNS:
                    raise DataError(f"{path}: line 1 has the columns {','.join(head)}, not {','.join(COLUMNS)}")
                found = [_row(path, rows.line_num, row) for row in rows]
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}); name a scores.csv of an evaluation") from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path}: is not a table of scores ({error})") from error
        thresholds = {threshold for _, threshold in found}
        if len(thresholds) != 1:
            raise DataError(f"{path}: holds {len(thresholds)} thresholds; a table of scores has one")
        return cls(tuple(image for image, _ in found), thresholds.pop())


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return value if isinstance(value, str) else repr(value)


def _row(path: Path, line: int, row: Sequence[str]) -> tuple[ScoredImage, float]:
    try:
        values: dict[str, Any] = dict(zip(COLUMNS, row, strict=True))
        threshold = float(values.pop("threshold"))
        values |= {name: int(values[name]) for name in _INTEGERS}
        values |= {name: float(values[name]) if values[name] else None for name in _NUMBERS}
        values["copy"] = bool(int(values["copy"]))
        _check(values)
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: line {line} is not a row of scores ({error})") from error
    return ScoredImage(**values), threshold


def _check(values: dict[str, Any]) -> None:
    if values["label"] not in range(len(CLASSES)):
        raise ValueError(f"label {values['label']} is none of 0 and 1")
    if values["patient_source"] not in SOURCES:
        raise ValueError(f"patient_source {values['patient_source']!r} is none of {', '.join(SOURCES)}")
    if values["probability"] is None or not 0 <= values["probability"] <= 1:
        raise ValueError(f"probability {values['probability']} is outside 0 to 1")


def known_patients(images: Iterable[ScoredImage]) -> int | None:
    """Count the known patients; None where none is known."""
    return len({image.patient for image in images if image.patient_source != UNKNOWN}) or None


def brightness(log_mean: float) -> float:
    """Return the mean grey level, share of full scale, from its logarithm in the image statistics."""
    return math.exp(log_mean)


def age_group(years: float | None) -> str:
    """Return the group of an age in years, so that no age is stored; empty where it is not known."""
    if years is None:
        return ""
    return next((words for end, words in AGES if years < end), OLDEST)


def view_group(view: str) -> str:
    """Return PA, AP, or `other` for what else DICOM says, which may be any text; empty where it says nothing."""
    return view if view in VIEWS else OTHER_VIEW if view else ""


def dicom_groups(attributes: DicomAttributes | None) -> dict[str, str]:
    """Return the columns that DICOM's attributes give; none for other files."""
    if attributes is None:
        return {}
    return {"age": age_group(attributes.age), "view": view_group(attributes.view)}
