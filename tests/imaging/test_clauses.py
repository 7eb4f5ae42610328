"""The table of the standard's clauses names tests that exist, and leaves no case out."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.imaging.test_dicom_refusals import REFUSED
from tests.support.dicom_cases import CASES

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "imaging.md").read_text(encoding="utf-8")


def test_each_test_that_a_clause_names_exists() -> None:
    named = re.findall(r"`(test_\w+)::(test_\w+)`", DOCUMENT)
    assert len(named) > 15
    for module, test in named:
        tree = ast.parse((ROOT / "tests" / "imaging" / f"{module}.py").read_text(encoding="utf-8"))
        assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{module}::{test}"


def test_each_case_and_refusal_that_a_clause_names_exists() -> None:
    assert set(re.findall(r"`case: ([^`]+)`", DOCUMENT)) == set(CASES)
    assert set(re.findall(r"`refusal: ([^`]+)`", DOCUMENT)) <= set(REFUSED)


def test_each_clause_has_a_test() -> None:
    dicom = DOCUMENT[DOCUMENT.index("\n## DICOM") : DOCUMENT.index("\n### Transfer syntaxes")]
    rows = [line.strip("|").split(" | ") for line in dicom.splitlines() if line.startswith("|")]
    clauses = [row for row in rows if "held by" not in row[-1] and "---" not in row[-1]]
    assert len(clauses) > 30
    for clause in clauses:
        assert re.search(r"`(case|refusal): |`test_\w+::", clause[-1]), clause[0]
