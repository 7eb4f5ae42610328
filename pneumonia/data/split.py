"""The division into train, validation and test, by patient."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from pneumonia.config.schema import CLASSES, DataConfig
from pneumonia.data.manifest import Entry
from pneumonia.errors import DataError


def assign(entries: Sequence[Entry], config: DataConfig) -> tuple[Entry, ...]:
    """Give every film its split.

    The official test folder stays test, whole. The train and val folders are pooled. Every patient has two fixed
    numbers in [0, 1), hashes of the seed and the patient: one below ``validation_fraction`` makes a validation patient,
    the other at or above ``patient_fraction`` an unused one. So adding a patient moves nobody else, a smaller
    ``patient_fraction`` gives subsets of the same splits, and the fractions are met up to the chance of the draw. In
    each class at least one patient is kept for training and one for validation.

    Raises:
        DataError: a class has fewer than two patients outside the test folder.
    """
    strata: dict[str, int] = {}
    for entry in entries:
        if entry.folder != "test":  # a patient with films of both classes is divided once, with the ill
            strata[entry.patient] = max(strata.get(entry.patient, 0), entry.label)
    splits: dict[str, str] = {}
    for label, name in enumerate(CLASSES):
        patients = [patient for patient, stratum in strata.items() if stratum == label]
        if len(patients) < 2:
            raise DataError(
                f"{name}: {len(patients)} patient(s) in the train and val folders; "
                "at least two are needed, one to train on and one to validate on"
            )
        splits |= _divide(patients, config)
    return tuple(replace(entry, split="test" if entry.folder == "test" else splits[entry.patient]) for entry in entries)


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
    """The patients whose number is below the fraction; the lowest one where there is none."""
    numbers = {patient: _number(salt, patient) for patient in patients}
    return {patient for patient, number in numbers.items() if number < fraction} or {
        min(numbers, key=numbers.__getitem__)
    }


def _number(salt: str, patient: str) -> float:
    """A number in [0, 1) that depends on nothing but the salt and the patient."""
    digest = hashlib.sha256(f"{salt}|{patient}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
