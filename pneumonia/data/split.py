"""Divide images into train, validation and test, by patient; patients that share an identical image are one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pneumonia.config.schema import CLASSES, DataConfig
from pneumonia.data.manifest import Entry
from pneumonia.data.patients import SOURCES, TABLE, UNKNOWN, join_identical, subtype
from pneumonia.errors import DataError

GATE_SALT = "gate"  # of no seed: whoever is held out for the gate is held out for good
FEWEST = 3  # patients of a class or subtype, of whom one is in the gate set


def assign(entries: Sequence[Entry], config: DataConfig) -> tuple[Entry, ...]:
    """Assign every image to a split.

    All images of the official test folder stay in test. The train and val folders are pooled. Every patient has fixed
    numbers in [0, 1), hashes of a salt and the patient: one below ``gate_fraction`` makes a patient of the gate set, of
    the others one below ``validation_fraction`` a validation patient, and one at or above ``patient_fraction`` an
    unused one. So an added patient changes no other patient's split, a smaller ``patient_fraction`` gives subsets of
    the same splits, and the fractions are met approximately, as random draws do. The gate set's number depends on no
    seed, and ``patient_fraction`` leaves the set alone: whoever is in it stays in it. In each class at least one
    patient is kept for training and one for validation; where there are three or more, one is in the gate set.

    With ``folds``, the images of one fold (`folds_of`) are "unused" here, neither trained nor calibrated on, and the
    other folds' patients are divided as above.

    Patients who share an identical image (equal pixels) outside the test folder are divided as one, under the key that
    is first in alphabetical order, so that a copy under another name lies in the same split; one patient of the gate
    set takes the others along.

    Raises:
        DataError: a class has fewer than two patients outside the test folder, or too few for the folds.
    """
    pool = _pool(entries, config)
    dealt = _deal(pool, config)
    splits = dict.fromkeys(pool.gate, "gate") | dict.fromkeys(dealt, "unused")
    for name, patients in pool.classes.items():
        rest = [patient for patient in patients if not config.folds or dealt.get(patient) != config.fold]
        if len(rest) < 2:
            raise DataError(_too_few_for_folds(name, len(patients), config))
        splits |= _divide(rest, config)
    return tuple(
        replace(entry, split="test" if entry.folder == "test" else splits[pool.groups[entry.patient]])
        for entry in entries
    )


def folds_of(entries: Sequence[Entry], config: DataConfig) -> tuple[int | None, ...]:
    """Return the fold of every image, from 0; None for the test folder, the gate set and patients that are not used.

    The patients of each class and subtype are ordered by a hash of ``split_seed`` and the patient, and dealt one after
    another, as cards are: so that the folds differ by one patient of a class and subtype at most. Patients who share an
    identical image are dealt as one.

    Args:
        entries: all images, with their patients; their splits are not read.
        config: number of folds; without any, every image has None.

    Raises:
        DataError: as `assign`.
    """
    pool = _pool(entries, config)
    dealt = _deal(pool, config)
    return tuple(None if entry.folder == "test" else dealt.get(pool.groups[entry.patient]) for entry in entries)


def held_out_rows(entries: Sequence[Entry], config: DataConfig) -> NDArray[np.int64]:
    """Return the rows of the images of the fold that is held out, in order, int64 [n]; raises as `folds_of`."""
    found = [fold == config.fold for fold in folds_of(entries, config)]
    return np.flatnonzero(found).astype(np.int64)


@dataclass(frozen=True)
class _Pool:
    """The patients outside the test folder.

    Attributes:
        groups: the key under which a patient is divided, by patient.
        gate: keys of the gate set.
        classes: the other keys, by class.
    """

    groups: Mapping[str, str]
    gate: Set[str]
    classes: Mapping[str, Sequence[str]]


def _pool(entries: Sequence[Entry], config: DataConfig) -> _Pool:
    pool = [entry for entry in entries if entry.folder != "test"]
    joined = join_identical([entry.patient for entry in pool], [entry.pixels_sha256 for entry in pool])
    groups = {entry.patient: group for entry, group in zip(pool, joined, strict=True)}
    labels: dict[str, int] = {}
    for entry, group in zip(pool, joined, strict=True):  # with images of both classes, assigned once, as a positive
        labels[group] = max(labels.get(group, 0), entry.label)
    gate_numbers: dict[str, float] = {}
    for patient, group in groups.items():
        gate_numbers[group] = min(_number(GATE_SALT, patient), gate_numbers.get(group, 1.0))
    gate: set[str] = set()
    classes: dict[str, list[str]] = {}
    for label, name in enumerate(CLASSES):
        patients = [patient for patient, of in labels.items() if of == label]
        if len(patients) < 2:
            raise DataError(_too_few(name, len(patients), entries))
        chosen = _gate_set({patient: gate_numbers[patient] for patient in patients}, config.gate_fraction)
        gate |= chosen
        classes[name] = [patient for patient in patients if patient not in chosen]
    return _Pool(groups, gate, classes)


def _deal(pool: _Pool, config: DataConfig) -> dict[str, int]:
    """Return the fold of every patient that is used."""
    found: dict[str, int] = {}
    if not config.folds:
        return found
    for name, patients in pool.classes.items():
        used = _below(patients, config.patient_fraction, f"use|{config.split_seed}")
        if len(used) < config.folds:
            raise DataError(_too_few_for_folds(name, len(used), config))
        ordered = sorted((subtype(patient), _number(f"fold|{config.split_seed}", patient), patient) for patient in used)
        # on where the last class or subtype has ended, so that no fold gets every remainder
        found |= {patient: place % config.folds for place, (*_, patient) in enumerate(ordered, len(found))}
    return found


def _too_few_for_folds(name: str, count: int, config: DataConfig) -> str:
    return (
        f"data.folds={config.folds}: {name} has {count} patient(s) outside the gate set and the test folder; each fold "
        "needs one, and two others for training and validation: choose fewer folds, or a larger data.patient_fraction"
    )


def _gate_set(numbers: Mapping[str, float], fraction: float) -> set[str]:
    """Choose a class's patients of the gate set: of each subtype those below the fraction, or the lowest of three.

    Args:
        numbers: by patient, in [0, 1).
        fraction: 0 chooses nobody.
    """
    chosen: set[str] = set()
    for kind in sorted({subtype(patient) for patient in numbers}) if fraction else ():
        ordered = sorted((number, patient) for patient, number in numbers.items() if subtype(patient) == kind)
        first = ordered[:1] if len(ordered) >= FEWEST else []
        chosen |= {patient for number, patient in ordered if number < fraction} | {patient for _, patient in first}
    spared = sorted(numbers, key=numbers.__getitem__)[-2:]  # one to train on, one to validate on
    return chosen - set(spared)


def _too_few(name: str, count: int, entries: Sequence[Entry]) -> str:
    """Return the message; patients on both sides come first, because they are a leak and often the cause."""
    sides = [{entry.patient for entry in entries if (entry.folder == "test") == test} for test in (False, True)]
    shared = sides[0] & sides[1]
    sources = sorted({entry.patient_source for entry in entries if entry.patient in shared})
    leak = ""
    if shared:
        known = ", ".join(SOURCES[source] for source in sources)
        remedy = "; ".join(_REMEDIES[source] for source in sources)
        leak = (
            f"{len(shared)} patient(s) have images in train and in test, which is a leak (known from: {known}). "
            f"{remedy}. "
        )
    return (
        f"{leak}{name}: {count} patient(s) in the train and val folders, where patients with images of both classes "
        f"count as {CLASSES[1]}; at least two are needed, one to train on and one to validate on"
    )


_REMEDIES = {
    "table": f"Correct the column patient of {TABLE}, or move the images of these patients to one side",
    "dicom": f"If the files' PatientID names other people than it should, list the patients in {TABLE}; otherwise move "
    "the images of these patients to one side",
    "folder": "Move the folders of these patients to one side, or name folders of different people differently",
    "name": f"Move the images of these patients to one side, or list the patients in {TABLE} if the names mean others",
    UNKNOWN: "Move these images to one side",
}
"""What to do about a patient on both sides, by what the patient is known from."""


def _divide(patients: Sequence[str], config: DataConfig) -> dict[str, str]:
    held_out = _below(patients, config.validation_fraction, f"validation|{config.split_seed}")
    if len(held_out) == len(patients):
        held_out.remove(max(held_out, key=lambda patient: _number(f"validation|{config.split_seed}", patient)))
    splits = dict.fromkeys(patients, "unused")
    for split, members in (("validation", held_out), ("train", set(patients) - held_out)):
        for patient in _below(members, config.patient_fraction, f"use|{config.split_seed}"):
            splits[patient] = split
    return splits


def _below(patients: Sequence[str] | set[str], fraction: float, salt: str) -> set[str]:
    """Return the patients whose number is below the fraction; the one with the lowest number where none is."""
    numbers = {patient: _number(salt, patient) for patient in patients}
    return {patient for patient, number in numbers.items() if number < fraction} or {
        min(numbers, key=numbers.__getitem__)
    }


def _number(salt: str, patient: str) -> float:
    """Return a number in [0, 1) that depends only on the salt and the patient."""
    digest = hashlib.sha256(f"{salt}|{patient}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
