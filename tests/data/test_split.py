from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumonia.config.schema import DataConfig
from pneumonia.data.manifest import Entry
from pneumonia.data.split import assign
from pneumonia.errors import DataError


def entry(number: int, patient: str, label: int, folder: str = "train") -> Entry:
    return Entry(f"{folder}/{label}/{number:06d}.jpeg", "", label, patient, folder, "unused", 1, 1, "", "", 9)


def films(patients: int, films_each: int = 2) -> list[Entry]:
    """Patients of both classes with films in train, every ninth in val, and as many others in test."""
    numbers = iter(range(10**6))
    return [
        entry(next(numbers), f"{folder[:2]}-{label}-{patient}", label, "val" if side and patient % 9 == 0 else folder)
        for side, folder in enumerate(("test", "train"))
        for label in (0, 1)
        for patient in range(patients)
        for _ in range(films_each)
    ]


def split_of(entries: list[Entry], config: DataConfig) -> dict[str, str]:
    """Split by patient; fails where a patient is in two."""
    found: dict[str, set[str]] = defaultdict(set)
    for film in assign(entries, config):
        found[film.patient].add(film.split)
    assert all(len(splits) == 1 for splits in found.values())
    return {patient: splits.pop() for patient, splits in found.items()}


def test_the_test_folder_stays_whole_and_apart() -> None:
    entries = films(40)
    for config in (DataConfig(), DataConfig(patient_fraction=0.2), DataConfig(split_seed=5)):
        for film in assign(entries, config):
            assert (film.split == "test") == (film.folder == "test")


def test_order_and_everything_else_of_a_film_are_kept() -> None:
    entries = films(9)
    divided = assign(entries, DataConfig())
    assert [film.path for film in divided] == [film.path for film in entries]
    assert {film.split for film in divided} == {"train", "validation", "test"}


def test_fractions_are_met_in_each_class() -> None:
    entries = films(2000, films_each=1)
    config = DataConfig(validation_fraction=0.2, patient_fraction=0.5)
    counts = Counter((film.label, film.split) for film in assign(entries, config))
    for label in (0, 1):  # binomial, four standard deviations
        assert counts[label, "validation"] == pytest.approx(200, abs=55)
        assert counts[label, "train"] == pytest.approx(800, abs=90)
        assert counts[label, "unused"] == pytest.approx(1000, abs=90)


def test_thinning_takes_subsets_of_the_same_splits() -> None:
    entries = films(200)
    whole = split_of(entries, DataConfig())
    part = split_of(entries, DataConfig(patient_fraction=0.3))
    less = split_of(entries, DataConfig(patient_fraction=0.1))
    assert "unused" not in whole.values()
    assert all(split in ("unused", whole[patient]) for patient, split in part.items())
    assert all(split in ("unused", part[patient]) for patient, split in less.items())


def test_seeds_draw_anew_and_order_does_not_matter() -> None:
    entries = films(60)
    first = split_of(entries, DataConfig())
    assert split_of(entries[::-1], DataConfig()) == first
    assert split_of(entries, DataConfig(split_seed=1)) != first


@settings(max_examples=50, deadline=None)
@given(patients=st.integers(2, 60), seed=st.integers(0, 10**6), fraction=st.floats(0.01, 1), label=st.integers(0, 1))
def test_another_patient_moves_nobody_else(patients: int, seed: int, fraction: float, label: int) -> None:
    config = DataConfig(split_seed=seed, patient_fraction=fraction, validation_fraction=0.3)
    entries = films(patients)
    before = split_of(entries, config)
    after = split_of([*entries, entry(999_999, "newcomer", label)], config)
    del after["newcomer"]
    moved = {patient for patient in before if before[patient] != after[patient]}
    # Only where a split of this class would have been empty does a stand-in give its place to the newcomer.
    crowded = Counter((film.label, film.split) for film in assign(entries, config))
    assert not moved or min(crowded[label, "train"], crowded[label, "validation"]) <= 2
    assert len(moved) <= 2


@settings(max_examples=50, deadline=None)
@given(patients=st.integers(2, 9), seed=st.integers(0, 10**6), held=st.floats(0.001, 0.999), used=st.floats(0.001, 1))
def test_no_split_of_a_class_is_empty(patients: int, seed: int, held: float, used: float) -> None:
    config = DataConfig(split_seed=seed, patient_fraction=used, validation_fraction=held)
    counts = Counter((film.label, film.split) for film in assign(films(patients), config))
    assert all(counts[label, split] for label in (0, 1) for split in ("train", "validation", "test"))


def test_a_patient_with_films_of_both_classes_is_not_divided() -> None:
    entries = films(30) + [entry(10**6 + n, f"tr-{n % 2}-{n}", (n + 1) % 2) for n in range(30)]
    assert split_of(entries, DataConfig(validation_fraction=0.5))


def test_one_patient_cannot_be_divided() -> None:
    entries = [film for film in films(5) if film.label == 1 or film.patient == "tr-0-1" or film.folder == "test"]
    with pytest.raises(DataError, match=r"NORMAL: 1 patient"):
        assign(entries, DataConfig())
