"""The checklists are answered from the bundle, item by item."""

from __future__ import annotations

from collections import Counter

import pytest

from pneumonia.evidence import checklists
from pneumonia.records.dossier import STATUSES, ChecklistItem, Dossier
from pneumonia.reporting.dossier.page import SECTIONS
from tests.support.dossiers import FILES, bare, ruled_files

CLAIM = [str(number) for number in range(1, 45)]
TRIPOD = [
    *(
        "1",
        "2",
        "3a",
        "3b",
        "3c",
        "4",
        "5a",
        "5b",
        "6a",
        "6b",
        "6c",
        "7",
        "8a",
        "8b",
        "8c",
        "9a",
        "9b",
        "9c",
        "10",
        "11",
    ),
    *("12a", "12b", "12c", "12d", "12e", "12f", "12g", "13", "14", "15", "16", "17", "18a", "18b", "18c", "18d", "18e"),
    *("18f", "19", "20a", "20b", "20c", "21", "22", "23a", "23b", "24", "25", "26", "27a", "27b", "27c"),
]


def without(dossier: Dossier, name: str) -> Dossier:
    return dossier.model_copy(update={"files": tuple(each for each in dossier.files if each.path != name)})


def items(dossier: Dossier) -> dict[tuple[str, str], ChecklistItem]:
    return {(found.name, each.number): each for found in checklists.answer(dossier) for each in found.items}


def test_every_item_is_there_once() -> None:
    claim, tripod = checklists.answer(bare())
    assert [each.number for each in claim.items] == CLAIM
    assert [each.number for each in tripod.items] == TRIPOD


@pytest.mark.parametrize("name", sorted(ruled_files()))
def test_an_item_falls_when_its_file_is_removed(name: str) -> None:
    before, after = items(bare()), items(without(bare(), name))
    fallen = {key for key in before if before[key] != after[key]}
    pointing = {key for key, each in before.items() if name in each.where.split(", ")}
    assert fallen == pointing
    assert pointing
    assert {after[key].status for key in fallen} == {"not done"}
    assert all(after[key].note and not after[key].where for key in fallen)


def test_an_item_falls_when_its_part_of_the_dossier_is_not_there() -> None:
    there, gone = items(bare()), items(bare(outside=(), robustness=None, cross_validation=None))
    for key in (("CLAIM 2024", "33"), ("CLAIM 2024", "30"), ("TRIPOD+AI", "12d")):
        assert there[key].status in ("met", "partly")
        assert (gone[key].status, gone[key].where) == ("not done", "")


def test_what_is_met_names_a_file_with_its_digest_or_a_section() -> None:
    sections = {f"#{section.id}" for section in SECTIONS}
    digests = {file.path: file.sha256 for file in bare().files}
    for each in items(bare()).values():
        places = each.where.split(", ") if each.where else []
        assert bool(places) == (each.status in ("met", "partly")), each
        assert set(places) <= sections | set(FILES)
        assert each.digest == (digests[places[0]] if places and places[0] in digests else None)
        assert each.note or each.status == "met", each


def test_synthetic_images_leave_some_items_without_meaning() -> None:
    found = items(bare(phantom=True))
    assert found["CLAIM 2024", "11"].status == "not applicable"
    assert Counter(each.status for each in found.values()).keys() <= set(STATUSES)


def test_a_rule_that_names_no_field_is_found() -> None:
    with pytest.raises(AttributeError):
        checklists.field(bare(), "assessment.no_such_thing")
