"""The manifest: one row per image, and digests that identify the data version and its split."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumonia.config.schema import CLASSES
from pneumonia.data.patients import SOURCES, UNKNOWN, join_identical
from pneumonia.errors import DataError
from pneumonia.files import AtomicFile

FOLDERS = ("train", "val", "test")
SPLITS = ("train", "validation", "gate", "test", "unused")


@dataclass(frozen=True, slots=True)
class Entry:
    """An image.

    Attributes:
        path: relative to the data's root, with forward slashes.
        sha256: of the file.
        label: index into `pneumonia.config.schema.CLASSES`.
        patient: see `pneumonia.data.patients`.
        folder: published folder, one of `FOLDERS`.
        split: one of `SPLITS`.
        width: pixels.
        height: pixels.
        encoding: see `pneumonia.imaging.radiograph.Radiograph`.
        pixels_sha256: of the decoded, preprocessed pixels.
        bytes: size of the file.
        patient_source: how the patient is known, one of `pneumonia.data.patients.SOURCES`.
    """

    path: str
    sha256: str
    label: int
    patient: str
    folder: str
    split: str
    width: int
    height: int
    encoding: str
    pixels_sha256: str
    bytes: int
    patient_source: str = UNKNOWN


COLUMNS = tuple(field.name for field in fields(Entry))
_INTEGERS = frozenset({"label", "width", "height", "bytes"})
# the file's sha256 determines its size; how the patient is known is no part of who it is
_DATA_COLUMNS = tuple(name for name in COLUMNS if name not in {"split", "pixels_sha256", "bytes", "patient_source"})


@dataclass(frozen=True)
class Manifest:
    """All images of a data set, sorted by path."""

    entries: tuple[Entry, ...]

    def __post_init__(self) -> None:
        paths = [entry.path for entry in self.entries]
        if paths != sorted(set(paths)):
            raise ValueError("a manifest's entries are sorted by path, each path once")

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the data version: of all columns but the split, the preprocessed pixels and the file sizes."""
        return _digest(self.entries, _DATA_COLUMNS)

    @cached_property
    def split_digest(self) -> str:
        """SHA-256 of the division into splits."""
        return _digest(self.entries, ("path", "sha256", "split"))

    @cached_property
    def pixels_digest(self) -> str:
        """SHA-256 of the decoded and preprocessed images."""
        return _digest(self.entries, ("path", "pixels_sha256"))

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Label of every image, int64 [N]; 1 is PNEUMONIA."""
        return np.array([entry.label for entry in self.entries], dtype=np.int64)

    @cached_property
    def patients(self) -> list[str]:
        """Patient key of every image."""
        return [entry.patient for entry in self.entries]

    @cached_property
    def groups(self) -> list[str]:
        """Key of every image's patient, one key for patients that share an identical image (`join_identical`)."""
        return join_identical(self.patients, [entry.pixels_sha256 for entry in self.entries])

    def indices(self, split: str) -> NDArray[np.int64]:
        """Return the rows of a split in order, int64 [n]."""
        if split not in SPLITS:
            raise ValueError(f"split {split!r} is none of {', '.join(SPLITS)}")
        return np.flatnonzero([entry.split == split for entry in self.entries]).astype(np.int64)

    def save(self, path: Path) -> None:
        """Write the manifest as CSV, atomically.

        Raises:
            DataError: the file cannot be written.
        """
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([getattr(entry, name) for name in COLUMNS] for entry in self.entries)
        with AtomicFile(path) as file:
            file.write(text.getvalue().encode("utf-8", "surrogateescape"))

    @classmethod
    def load(cls, path: Path) -> Manifest:
        """Read a CSV that `save` wrote.

        Raises:
            DataError: the file is missing or is not such a CSV; names the line.
        """
        try:
            with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
                rows = csv.reader(file, strict=True)
                if tuple(next(rows, ())) != COLUMNS:
                    raise DataError(
                        f"{path}: line 1 must read {','.join(COLUMNS)}; delete the file to have it created again"
                    )
                return cls(tuple(_entry(row) for row in rows))
        except OSError as error:
            raise DataError(
                f"{path}: the manifest cannot be read ({error.strerror}); run the pipeline again from prepare_data, "
                "which makes it anew"
            ) from error
        except (ValueError, csv.Error) as error:
            raise DataError(f"{path}: is not a manifest ({error}); delete it to have it created again") from error


def _entry(row: Sequence[str]) -> Entry:
    if len(row) != len(COLUMNS):
        raise ValueError(f"a row has {len(row)} columns instead of {len(COLUMNS)}")
    values = {name: int(text) if name in _INTEGERS else text for name, text in zip(COLUMNS, row, strict=True)}
    for name, allowed in (
        ("label", range(len(CLASSES))),
        ("folder", FOLDERS),
        ("split", SPLITS),
        ("patient_source", SOURCES),
    ):
        if values[name] not in allowed:
            raise ValueError(f"{name} {values[name]!r} is none of {', '.join(map(str, allowed))}")
    return Entry(**values)  # type: ignore[arg-type]


def _digest(entries: Iterable[Entry], columns: Sequence[str]) -> str:
    state = hashlib.sha256()
    for entry in entries:
        state.update(json.dumps([getattr(entry, name) for name in columns]).encode() + b"\n")
    return state.hexdigest()
