"""The checks of the audit: each takes a data set's films and returns a `Finding`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pneumonia.config.schema import CLASSES
from pneumonia.data.audit.near_duplicates import Pairs
from pneumonia.data.audit.shortcut_features import quantisation
from pneumonia.data.manifest import FOLDERS, SPLITS, Entry

LISTED = 20
_UNUSED = "unused"
_NAMED_ILL = re.compile(r"person\d+_(bacteria|virus)_", re.IGNORECASE)
_NAMED_WELL = re.compile(r"(NORMAL\d*-)?IM-\d+", re.IGNORECASE)
Row = dict[str, Any]


class Finding(BaseModel):
    """The outcome of one check.

    Attributes:
        ok: nothing was found.
        stops: a finding of this kind makes every figure worthless, so that the pipeline stops.
        count: how much was found; all films for ``counts`` and ``encodings``.
        summary: one sentence.
        examples: up to 20 rows, all with the same keys.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ok: bool
    stops: bool
    count: int
    summary: str
    examples: list[Row]


def _finding(rows: Iterable[Row], summary: Callable[[int], str], *, stops: bool = False) -> Finding:
    found = list(rows)
    return Finding(ok=not found, stops=stops, count=len(found), summary=summary(len(found)), examples=found[:LISTED])


def _cells(entries: Sequence[Entry], kind: str, names: Sequence[str]) -> Iterable[tuple[str, str, list[Entry]]]:
    """Every non-empty part of the data: its folder or split, its class and its films."""
    for name in names:
        for label, title in enumerate(CLASSES):
            films = [entry for entry in entries if getattr(entry, kind) == name and entry.label == label]
            if films:
                yield name, title, films


def counts(entries: Sequence[Entry]) -> Finding:
    rows = [
        {"part": f"{kind} {name}", "class": title, "films": len(films), "patients": len({e.patient for e in films})}
        for kind, names in (("folder", FOLDERS), ("split", SPLITS))
        for name, title, films in _cells(entries, kind, names)
    ]
    ill = sum(entry.label for entry in entries)
    patients = len({entry.patient for entry in entries})
    summary = f"{len(entries)} films of {patients} patients, {len(entries) - ill} {CLASSES[0]} and {ill} {CLASSES[1]}"
    return Finding(ok=True, stops=False, count=len(entries), summary=summary, examples=rows)


def unreadable(unreadable: Sequence[Row], *, stops: bool) -> Finding:
    fate = "" if stops else " and are left out"
    return _finding(
        unreadable, lambda n: f"{n} files cannot be read as films{fate}" if n else "all are read", stops=stops
    )


def wrong_folder(entries: Sequence[Entry]) -> Finding:
    """Published names tell the class; a file that lies in the other class's folder was probably misplaced."""
    foreign = {0: _NAMED_ILL, 1: _NAMED_WELL}
    rows = [
        {"file": entry.path, "class": CLASSES[entry.label], "named as": CLASSES[1 - entry.label]}
        for entry in entries
        if foreign[entry.label].match(PurePosixPath(entry.path).name)
    ]
    return _finding(rows, lambda n: f"{n} files are named like the other class" if n else "names agree with folders")


def _groups(entries: Iterable[Entry], key: str) -> dict[str, list[Entry]]:
    """Films that share a digest or a patient, two or more."""
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[getattr(entry, key)].append(entry)
    return {value: films for value, films in groups.items() if len(films) > 1}


def duplicate_files(entries: Sequence[Entry]) -> Finding:
    groups = list(_groups(entries, "pixels_sha256").values())
    copies = sum(len({film.sha256 for film in films}) == 1 for films in groups)
    rows = [{"files": [film.path for film in films]} for films in groups]
    films = sum(map(len, groups))
    return _finding(
        rows,
        lambda n: (
            f"{n} groups of films ({films} films) with equal pixels, {copies} of them copies of one file"
            if n
            else "no film is there twice"
        ),
    )


def _conflicts(entries: Sequence[Entry], differ: str) -> list[Row]:
    """Groups of one file, or of equal pixels, that do not agree in a field."""
    rows: dict[tuple[str, ...], Row] = {}
    for key, same in (("sha256", "file"), ("pixels_sha256", "pixels")):
        for films in _groups(entries, key).values():
            if len({getattr(film, differ) for film in films}) > 1:
                paths = tuple(film.path for film in films)
                rows.setdefault(
                    paths, {"files": list(paths), differ: [getattr(f, differ) for f in films], "same": same}
                )
    return list(rows.values())


def _used(entries: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.split != _UNUSED]


def label_conflict(entries: Sequence[Entry]) -> Finding:
    rows = _conflicts(entries, "label")
    for row in rows:
        row["label"] = [CLASSES[label] for label in row["label"]]
    return _finding(
        rows, lambda n: f"{n} films lie in both classes" if n else "no film lies in both classes", stops=True
    )


def duplicate_across_splits(entries: Sequence[Entry]) -> Finding:
    return _finding(
        _conflicts(_used(entries), "split"),
        lambda n: f"{n} films lie in more than one split" if n else "no film lies in more than one split",
        stops=True,
    )


def _pair_rows(entries: Sequence[Entry], pairs: Pairs, chosen: NDArray[np.bool_]) -> list[Row]:
    at = np.flatnonzero(chosen)
    at = at[np.argsort(-pairs.correlation[at], kind="stable")][:LISTED]
    rows = []
    for i in at:
        films = entries[pairs.first[i]], entries[pairs.second[i]]
        rows.append(
            {
                "files": [film.path for film in films],
                "splits": [film.split for film in films],
                "correlation": round(float(pairs.correlation[i]), 4),
            }
        )
    return rows


def _differ(entries: Sequence[Entry], pairs: Pairs, key: str) -> NDArray[np.bool_]:
    values = np.array([getattr(entry, key) for entry in entries])
    differ: NDArray[np.bool_] = values[pairs.first] != values[pairs.second]
    return differ


def near_duplicates(entries: Sequence[Entry], pairs: Pairs, threshold: float) -> Finding:
    n = len(pairs.first)
    identical = n - int(_differ(entries, pairs, "pixels_sha256").sum())
    torn = int(_differ(entries, pairs, "label").sum())
    summary = f"{n} pairs of films correlate by {threshold:g} or more, {identical} of them with equal pixels"
    summary += f" and {torn} in different classes" if torn else ""
    rows = _pair_rows(entries, pairs, np.ones(n, dtype=bool))
    return Finding(ok=n == 0, stops=False, count=n, summary=summary, examples=rows)


def near_duplicates_across_splits(entries: Sequence[Entry], pairs: Pairs) -> Finding:
    split = np.array([entry.split for entry in entries])
    used = (split[pairs.first] != _UNUSED) & (split[pairs.second] != _UNUSED)
    across = used & _differ(entries, pairs, "split")
    n = int(across.sum())
    summary = f"{n} pairs of near-duplicates lie in different splits" if n else "near-duplicates share their split"
    return Finding(ok=n == 0, stops=True, count=n, summary=summary, examples=_pair_rows(entries, pairs, across))


def patient_across_splits(entries: Sequence[Entry]) -> Finding:
    rows = [
        {"patient": patient, "splits": sorted({film.split for film in films}), "files": [f.path for f in films][:6]}
        for patient, films in _groups(_used(entries), "patient").items()
        if len({film.split for film in films}) > 1
    ]
    return _finding(
        rows,
        lambda n: f"{n} patients have films in more than one split" if n else "every patient lies in one split",
        stops=True,
    )


def encodings(entries: Sequence[Entry]) -> Finding:
    rows = [
        {
            "folder": folder,
            "class": title,
            "mean quantisation": round(float(np.nanmean(values)), 1) if np.isfinite(values).any() else None,
            "median width": int(np.median([film.width for film in films])),
            "median height": int(np.median([film.height for film in films])),
            "kinds": len({film.encoding for film in films}),
        }
        for folder, title, films in _cells(entries, "folder", FOLDERS)
        for values in [quantisation(films)]
    ]
    kinds = len({entry.encoding.partition(";q=")[0] for entry in entries})
    summary = f"{kinds} kinds of file; what they tell of the class is under shortcuts"
    return Finding(ok=True, stops=False, count=len(entries), summary=summary, examples=rows)
