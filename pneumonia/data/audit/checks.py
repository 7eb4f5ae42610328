"""Check a data set: each function takes its images and returns a `Finding`."""

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
from pneumonia.data.patients import DOUBT, SOURCES, TABLE_PLACE, UNKNOWN, Patient, doubtful, misplaced

LISTED = 20
GROUPS = 100  # of equal images that are listed, because each of them is to be named
_UNUSED = "unused"
_NAMED_PNEUMONIA = re.compile(r"person\d+_(bacteria|virus)_", re.IGNORECASE)
_NAMED_NORMAL = re.compile(r"(NORMAL\d*-)?IM-\d+", re.IGNORECASE)
Row = dict[str, Any]
_Pair = tuple[float, int, int]


class Finding(BaseModel):
    """The outcome of one check.

    Attributes:
        ok: nothing was found.
        stops: a finding of this kind invalidates every metric, so that the pipeline stops.
        count: number of cases; of all images for ``counts`` and ``encodings``.
        summary: one sentence.
        examples: up to 20 rows (groups of equal images: 100), all with the same keys.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ok: bool
    stops: bool
    count: int
    summary: str
    examples: list[Row]


def _finding(
    rows: Iterable[Row], summary: Callable[[int], str], *, stops: bool = False, listed: int = LISTED
) -> Finding:
    found = list(rows)
    return Finding(ok=not found, stops=stops, count=len(found), summary=summary(len(found)), examples=found[:listed])


def _parts(entries: Sequence[Entry], kind: str, names: Sequence[str]) -> Iterable[tuple[str, str, list[Entry]]]:
    """Yield every non-empty part of the data: its folder or split, its class and its images."""
    for name in names:
        for label, title in enumerate(CLASSES):
            images = [entry for entry in entries if getattr(entry, kind) == name and entry.label == label]
            if images:
                yield name, title, images


def counts(entries: Sequence[Entry]) -> Finding:
    """Count images and patients by folder, split (or fold, of a cross-validation) and class."""
    folds = sorted({entry.split for entry in entries}.difference(SPLITS))
    rows = [
        {
            "part": f"{kind} {name}",
            "class": title,
            "images": len(images),
            "known patients": _known_patients(images),
        }
        for kind, names in (("folder", FOLDERS), ("split", (*SPLITS, *folds)))
        for name, title, images in _parts(entries, kind, names)
    ]
    positives = sum(entry.label for entry in entries)
    negatives = len(entries) - positives
    summary = f"{len(entries)} images of {_known_patients(entries)} known patients, "
    summary += f"{negatives} {CLASSES[0]} and {positives} {CLASSES[1]}"
    return Finding(ok=True, stops=False, count=len(entries), summary=summary, examples=rows)


def _known_patients(entries: Iterable[Entry]) -> int:
    return len({entry.patient for entry in entries if entry.patient_source != UNKNOWN})


def patient_sources(entries: Sequence[Entry], others: Sequence[str] = ()) -> Finding:
    """Count images and patients by the source that the patient is known from.

    Images of unknown patients are a warning, and so are names that folders contradict, and tables that are not used.
    The count is that of the images whose patient is not known or in doubt.

    Args:
        entries: the images.
        others: paths of the files that are no images.
    """
    rows = []
    for source, title in SOURCES.items():
        if images := [entry for entry in entries if entry.patient_source == source]:
            rows.append({"source": title, "images": len(images), "known patients": _known_patients(images)})
    n = sum(entry.patient_source == UNKNOWN for entry in entries)
    known = ", ".join(f"{row['images']} by {row['source']}" for row in rows if row["source"] != SOURCES[UNKNOWN])
    summary = f"patients are known of {len(entries) - n} images" + (f" ({known})" if known else "")
    tables = misplaced(others)
    if n:
        remedy = "move the table that is named here" if tables else "list the patients in patients.csv"
        summary = (
            f"{n} images have no known patient: each counts as one of its own, so that intervals are by image and a "
            f"patient in two splits is not found; {remedy}, or set data.patients=folder "
            f"where each has a folder; {summary}"
        )
    in_doubt = doubtful((entry.path, Patient(entry.patient, entry.patient_source)) for entry in entries)
    if in_doubt:
        summary = f"{in_doubt} {DOUBT}; {summary}"
    if tables:
        summary = f"{', '.join(tables)}: not used; {TABLE_PLACE}; {summary}"
    ok = not n and not in_doubt and not tables
    return Finding(ok=ok, stops=False, count=n + in_doubt, summary=summary, examples=rows)


def unreadable(unreadable: Sequence[Row], *, stops: bool) -> Finding:
    """List the files that cannot be read."""
    consequence = "" if stops else " and are left out"
    return _finding(
        unreadable, lambda n: f"{n} files cannot be read as images{consequence}" if n else "all are read", stops=stops
    )


def passed_over(files: Sequence[str], litter: int) -> Finding:
    """List the files that are no images, and count those that nobody misses: hidden ones and operating systems'."""
    hidden = f"{litter} files that are hidden or of operating systems are passed over" if litter else ""

    def summary(n: int) -> str:
        found = f"{n} files are no images, or lie where none are looked for" if n else ""
        return "; ".join(filter(None, (found, hidden))) or "every file is an image"

    return _finding(({"file": file} for file in files), summary)


def wrong_folder(entries: Sequence[Entry]) -> Finding:
    """List the files whose published name belongs to the other class, and which were probably misplaced."""
    foreign = {0: _NAMED_PNEUMONIA, 1: _NAMED_NORMAL}
    rows = [
        {"file": entry.path, "class": CLASSES[entry.label], "named as": CLASSES[1 - entry.label]}
        for entry in entries
        if foreign[entry.label].match(PurePosixPath(entry.path).name)
    ]
    return _finding(rows, lambda n: f"{n} files are named like the other class" if n else "names agree with folders")


def _groups(entries: Iterable[Entry], key: str) -> dict[str, list[Entry]]:
    """Group the images that share a digest or a patient; groups of at least two."""
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[getattr(entry, key)].append(entry)
    return {value: images for value, images in groups.items() if len(images) > 1}


def duplicate_files(entries: Sequence[Entry]) -> Finding:
    """List groups of images with equal pixels."""
    groups = list(_groups(entries, "pixels_sha256").values())
    copies = sum(len({image.sha256 for image in images}) == 1 for images in groups)
    rows = [{"files": [image.path for image in images]} for images in groups]
    images = sum(map(len, groups))
    return _finding(
        rows,
        lambda n: (
            f"{n} groups of images ({images} images) with equal pixels, {copies} of them copies of one file"
            if n
            else "no image occurs twice"
        ),
        listed=GROUPS,
    )


def identical_images(entries: Sequence[Entry]) -> tuple[tuple[str, ...], ...]:
    """Return the paths of images with equal pixels, by group."""
    return tuple(tuple(image.path for image in images) for images in _groups(entries, "pixels_sha256").values())


def _conflicts(entries: Sequence[Entry], differ: str) -> list[Row]:
    """Return groups of one file, or of equal pixels, that differ in a field."""
    rows: dict[tuple[str, ...], Row] = {}
    for key, same in (("sha256", "file"), ("pixels_sha256", "pixels")):
        for images in _groups(entries, key).values():
            if len({getattr(image, differ) for image in images}) > 1:
                paths = tuple(image.path for image in images)
                rows.setdefault(
                    paths, {"files": list(paths), differ: [getattr(f, differ) for f in images], "same": same}
                )
    return list(rows.values())


def _used(entries: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.split != _UNUSED]


def label_conflict(entries: Sequence[Entry]) -> Finding:
    """List equal images that are in both classes."""
    rows = _conflicts(entries, "label")
    for row in rows:
        row["label"] = [CLASSES[label] for label in row["label"]]
    return _finding(
        rows, lambda n: f"{n} images lie in both classes" if n else "no image lies in both classes", stops=True
    )


def duplicate_across_splits(entries: Sequence[Entry]) -> Finding:
    """List equal images that are in more than one split."""
    return _finding(
        _conflicts(_used(entries), "split"),
        lambda n: f"{n} images lie in more than one split" if n else "no image lies in more than one split",
        stops=True,
    )


def near_duplicates(entries: Sequence[Entry], pairs: Iterable[Pairs], threshold: float) -> tuple[Finding, Finding]:
    """List pairs of near-duplicates, and those in different splits.

    Pairs come in blocks and are counted; the `LISTED` with the highest correlation are kept.
    """
    content, label, split = (_codes(entries, key) for key in ("pixels_sha256", "label", "split"))
    used = np.array([entry.split != _UNUSED for entry in entries])
    n = identical = conflicting = crossing = 0
    listed: list[_Pair] = []
    listed_across: list[_Pair] = []
    for block in pairs:
        first, second = block.first, block.second
        across = used[first] & used[second] & (split[first] != split[second])
        n += len(first)
        identical += int((content[first] == content[second]).sum())
        conflicting += int((label[first] != label[second]).sum())
        crossing += int(across.sum())
        listed = _highest(listed, block, np.arange(len(first)))
        listed_across = _highest(listed_across, block, np.flatnonzero(across))
    summary = f"{n} pairs of images correlate by {threshold:g} or more, {identical} of them with equal pixels"
    summary += f" and {conflicting} in different classes" if conflicting else ""
    found = Finding(ok=n == 0, stops=False, count=n, summary=summary, examples=_pair_rows(entries, listed))
    summary = (
        f"{crossing} pairs of near-duplicates lie in different splits"
        if crossing
        else "near-duplicates share their split"
    )
    rows = _pair_rows(entries, listed_across)
    return found, Finding(ok=crossing == 0, stops=True, count=crossing, summary=summary, examples=rows)


def _codes(entries: Sequence[Entry], key: str) -> NDArray[np.int64]:
    """Number the values of a field, so that pairs are compared without their texts."""
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(getattr(entry, key), len(numbers)) for entry in entries], dtype=np.int64)


def _highest(kept: list[_Pair], block: Pairs, chosen: NDArray[np.intp]) -> list[_Pair]:
    """Return the `LISTED` pairs of the highest correlation, of the kept ones and the chosen ones of a block."""
    best = chosen[np.argsort(-block.correlation[chosen], kind="stable")][:LISTED]
    new = [(float(block.correlation[i]), int(block.first[i]), int(block.second[i])) for i in best]
    return sorted([*kept, *new], key=lambda pair: (-pair[0], *pair[1:]))[:LISTED]


def _pair_rows(entries: Sequence[Entry], pairs: Iterable[_Pair]) -> list[Row]:
    rows = []
    for correlation, *members in pairs:
        images = [entries[member] for member in members]
        rows.append(
            {
                "files": [image.path for image in images],
                "splits": [image.split for image in images],
                "correlation": round(correlation, 4),
            }
        )
    return rows


def patient_across_splits(entries: Sequence[Entry]) -> Finding:
    """List patients with images in more than one split."""
    rows = [
        {"patient": patient, "splits": sorted({image.split for image in images}), "files": [f.path for f in images][:6]}
        for patient, images in _groups(_used(entries), "patient").items()
        if len({image.split for image in images}) > 1
    ]
    return _finding(
        rows,
        lambda n: f"{n} patients have images in more than one split" if n else "every patient lies in one split",
        stops=True,
    )


def encodings(entries: Sequence[Entry]) -> Finding:
    """Describe sizes and encodings by folder and class."""
    rows = [
        {
            "folder": folder,
            "class": title,
            "mean quantisation": round(float(np.nanmean(values)), 1) if np.isfinite(values).any() else None,
            "median width": int(np.median([image.width for image in images])),
            "median height": int(np.median([image.height for image in images])),
            "kinds": len({image.encoding for image in images}),
        }
        for folder, title, images in _parts(entries, "folder", FOLDERS)
        for values in [quantisation(images)]
    ]
    kinds = len({entry.encoding.partition(";q=")[0] for entry in entries})
    summary = f"{kinds} kinds of file; how well they predict the class is listed under shortcuts"
    return Finding(ok=True, stops=False, count=len(entries), summary=summary, examples=rows)
