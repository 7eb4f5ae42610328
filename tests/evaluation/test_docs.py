"""docs/evaluation.md: its tables are what the code has."""

from __future__ import annotations

import re
from pathlib import Path

from pneumonia.evaluation.robustness import CHANGES
from pneumonia.evaluation.scored_table import COLUMNS
from pneumonia.evaluation.slices import FEW
from pneumonia.statistics.diagnostic import PREVALENCES
from pneumonia.statistics.selective import CUTS

TEXT = (Path(__file__).parents[2] / "docs/evaluation.md").read_text(encoding="utf-8")


def rows(head: str) -> list[list[str]]:
    """The rows of the table whose first line begins so."""
    lines = TEXT[TEXT.index(f"\n{head}") + 1 :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_columns_are_the_tables() -> None:
    named = [name for row in rows("| columns ") for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(named) == sorted(COLUMNS)


def test_the_changes_have_the_stated_amounts() -> None:
    found = rows("| change ")
    assert [row[0] for row in found] == [change.name for change in CHANGES]
    for (name, words), change in zip(found, CHANGES, strict=True):
        shares = 100 if "%" in words else 1
        stated = re.search(r"((?:[\d.]+, ){4}[\d.]+)", words)
        assert stated is not None, name
        assert [float(number) for number in stated[1].split(", ")] == [
            round(shares * amount, 6) for amount in change.amounts
        ], name


def test_the_numbers_in_the_text_are_the_codes() -> None:
    words = " ".join(TEXT.split())
    assert f"{', '.join(f'{100 * p:g}' for p in PREVALENCES[:-1])} and 50 %" in words
    assert f"{', '.join(f'{100 * cut:g}' for cut in CUTS[:-1])} and {100 * CUTS[-1]:g} %" in words
    assert f"fewer than {FEW} images of a class" in words
    assert "Not a medical device" in words.replace("**", "")
