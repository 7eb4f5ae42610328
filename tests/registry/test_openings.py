"""Every opening of the release set is entered, once, before its labels are read, and the plan's number is kept."""

from __future__ import annotations

import hashlib
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pneumonia.errors import PneumoniaError
from pneumonia.registry import image_lists, openings
from pneumonia.registry.openings import GATE, ReleaseSetSpent, counted, enter, enter_images, recognised, rows_digest


def files(count: int, start: int = 0) -> list[str]:
    return [hashlib.sha256(str(at).encode()).hexdigest() for at in range(start, start + count)]


FILES = files(1000)
ROWS = rows_digest(FILES)


def opened(uri: str, weights: str, purpose: str = GATE, **options: object) -> int:
    return enter(uri, enter_images(uri, FILES), weights=weights, model="m", purpose=purpose, **options)  # type: ignore[arg-type]


def test_models_and_purposes_are_counted_once_each(any_uri: str) -> None:
    before = sum(opening.rows == ROWS for opening in openings.openings(any_uri))
    numbers = [opened(any_uri, *each) for each in (("a",), ("b",), ("a",), ("a", "evaluate"), ("c", "benchmark"))]
    assert [number - before for number in numbers] == [1, 2, 2, 3, 4]
    found = [opening for opening in openings.openings(any_uri) if opening.rows == ROWS][before:]
    assert [(opening.weights, opening.purpose) for opening in found] == [
        ("a", GATE),
        ("b", GATE),
        ("a", "evaluate"),
        ("c", "benchmark"),
    ]
    assert {(opening.rows, opening.model, opening.demo) for opening in found} == {(ROWS, "m", False)}
    assert "evaluate  m a  by " in str(found[2])


def test_one_too_many_stops_and_enters_nothing(uri: str) -> None:
    for weights, purpose in (("a", GATE), ("b", "pneumonia evaluate"), ("c", "benchmarks/profiles.py")):
        opened(uri, weights, purpose, limit=3)
    assert opened(uri, "a", limit=3) == 3, "the same opening again is no further one"
    with pytest.raises(ReleaseSetSpent, match=r"opened 3 times since the last promotion.* allows 3:(.|\n)*new images"):
        opened(uri, "d", limit=3)
    assert len(openings.openings(uri)) == 3
    assert opened(uri, "d", limit=4) == 4


def test_demos_are_entered_apart_and_a_promotion_begins_anew(uri: str) -> None:
    for weights in "abc":
        opened(uri, weights, demo=True, limit=1)
    assert opened(uri, "d", limit=1) == 4
    last = openings.openings(uri)[-1]
    assert [opening.weights for opening in counted(openings.openings(uri), ROWS)] == ["d"]
    assert opened(uri, "e", limit=1, since=last.when) == 5
    assert counted(openings.openings(uri), rows_digest(FILES[1:])) == []


def test_some_of_the_images_are_recognised_wherever_they_lie(uri: str) -> None:
    assert recognised(uri, FILES) == []
    opened(uri, "a")
    assert recognised(uri, FILES[990:991] + files(50, 5000)) == [ROWS]
    assert recognised(uri, files(500, 5000)) == []
    assert rows_digest(FILES[::-1] + FILES[:1]) == ROWS


def test_many_at_once_lose_none_and_keep_the_limit(any_uri: str) -> None:
    other = files(3, 9000)

    def attempt(number: int) -> bool:
        try:
            enter(any_uri, enter_images(any_uri, other), weights=str(number), model="m", purpose=GATE, limit=4)
        except ReleaseSetSpent:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(attempt, range(8)))
    assert sum(done) == 4
    mine = counted(openings.openings(any_uri), rows_digest(other))
    assert sorted(int(opening.weights) for opening in mine) == [number for number, ok in enumerate(done) if ok]


LISTS = {
    "all of them": ["UPDATE params SET value = 'aaaa' WHERE key LIKE 'rows-%'"],
    "one image": ["UPDATE params SET value = '000000000000' || substr(value, 13) WHERE key LIKE 'rows-%-0000'"],
    "removed": ["DELETE FROM params WHERE key LIKE 'rows-%'"],
    "the last chunk removed": ["DELETE FROM params WHERE key LIKE 'rows-%-0002'"],
    "another key": ["UPDATE params SET key = replace(key, 'rows-', 'rows-0') WHERE key LIKE 'rows-%'"],
}


@pytest.mark.parametrize("changed", LISTS)
def test_a_changed_list_of_images_loses_no_opening(work: Path, uri: str, changed: str) -> None:
    opened(uri, "a")
    assert openings.examine(uri).problems == []
    for statement in LISTS[changed]:
        with sqlite3.connect(work / "mlflow.db") as database:
            assert database.execute(statement).rowcount > 0
        database.close()
    named = f"the list of the images of the release set {ROWS[:12]}"
    assert any(named in each for each in openings.examine(uri).problems)
    for act in (
        lambda: recognised(uri, FILES[:1]),
        lambda: recognised(uri, files(1, 5000)),
        lambda: openings.openings(uri),
    ):
        with pytest.raises(PneumoniaError, match=named):
            act()
    if changed in ("all of them", "one image"):
        with pytest.raises(PneumoniaError, match=named):
            opened(uri, "b")
    else:  # what is missing is written again by whoever has the images
        assert opened(uri, "b") == 2
        assert ROWS in recognised(uri, FILES[:1])


def test_a_list_that_no_opening_names_is_held_against_its_form(work: Path, uri: str) -> None:
    """As in stores of earlier releases; the next opening of the set names it."""
    enter_images(uri, FILES)
    with sqlite3.connect(work / "mlflow.db") as database:
        database.execute("UPDATE params SET value = 'aaaa' WHERE key LIKE 'rows-%-0001'")
    database.close()
    with pytest.raises(PneumoniaError, match="was changed"):
        recognised(uri, FILES[:1])
    with pytest.raises(PneumoniaError, match="was changed in the register of openings"):
        enter_images(uri, FILES)


def test_a_list_that_was_cut_short_is_completed(uri: str) -> None:
    wanted = image_lists.parameters_of(ROWS, FILES)
    first = min(wanted)
    openings._write(uri, first, wanted[first])
    enter(uri, ROWS, weights="early", model="m", purpose=GATE)
    assert opened(uri, "a") == 2
    assert recognised(uri, FILES[999:]) == [ROWS]
    assert openings.examine(uri).problems == []
