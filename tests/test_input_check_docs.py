"""The documented table is the committed result, and the documented codes are those of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

from benchmarks.input_check import interval, table
from pneumonia.imaging.refusal import Code

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "input_check.md").read_text(encoding="utf-8")
FOUND = json.loads((ROOT / "benchmarks" / "results" / "input_check.json").read_text(encoding="utf-8"))


def test_the_documented_table_is_the_result() -> None:
    assert table(FOUND) in PAGE
    whole, held_out = FOUND["foreign, all"], FOUND["foreign, held out"]
    sentence = f"Of all {whole['n']} other pictures {whole['refused']} are refused; of the {held_out['n']} held out "
    assert f"{sentence}{held_out['refused']}." in PAGE


def test_what_was_asked_for_is_met() -> None:
    """At most 1 % of test images refused and 3 % unfamiliar, at least 95 % of other pictures refused."""
    test = FOUND["frontal"]["test images"]
    assert test["n"] == 624
    assert test["refused"] <= 0.01 * test["n"]
    assert test["unfamiliar"] <= 0.03 * test["n"]
    assert FOUND["foreign, all"]["share"] >= 0.95
    assert FOUND["foreign, held out"]["share"] >= 0.95


def test_every_code_is_documented() -> None:
    assert tuple(sorted(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))) == tuple(sorted(get_args(Code)))


def test_exact_intervals() -> None:
    """Of 0 in 10, 5 in 10 and 10 in 10, as Clopper and Pearson's are tabulated."""
    assert interval(0, 10) == [0.0, 0.3085]
    assert interval(5, 10) == [0.1871, 0.8129]
    assert interval(10, 10) == [0.6915, 1.0]
