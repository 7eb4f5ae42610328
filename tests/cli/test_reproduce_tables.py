"""What `pneumonia reproduce` prints: what differs, what was not recomputed in groups, and counts."""

from __future__ import annotations

import pytest

from pneumonia.cli.reproduce_tables import print_reproduction
from pneumonia.records.reproduction import Reproduction, compare, not_recomputed

ROWS = (
    *(compare("a.json", f"equal.{at}", at, at) for at in range(40)),
    compare("a.json", "edited", 0.5, 0.9),
    compare("retrained model", "far", 0.5, 0.6).model_copy(update={"verdict": "may differ", "note": "another machine"}),
    *(not_recomputed("MLflow", f"val_{at}", 0.5, "needs --retrain") for at in range(9)),
)
FOUND = Reproduction(version="models:/a/1", commit=None, passed=False, notes=(), rows=ROWS)


def test_what_is_equal_is_counted_alone(capsys: pytest.CaptureFixture[str]) -> None:
    print_reproduction(FOUND, verbose=False)
    printed, said = capsys.readouterr()
    lines = printed.splitlines()
    assert "equal.3" not in printed
    assert [line.split()[:3] for line in lines if line.startswith(("a.json edited", "retrained model far"))] == [
        ["a.json", "edited", "0.5"],
        ["retrained", "model", "far"],
    ]
    assert "not recomputed: 9 of MLflow: needs --retrain" in lines
    assert "val_5, and 3 more" in printed
    assert ["a.json", "40", "1", "-", "-"] in [line.split() for line in lines]
    assert ["MLflow", "-", "-", "-", "9"] in [line.split() for line in lines]
    assert "51 claims, 1 differ, 1 may differ, 9 were not recomputed; all rows: --verbose or --json" in printed
    assert "another machine" in said


def test_every_row_is_printed_where_that_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    print_reproduction(FOUND, verbose=True)
    printed = capsys.readouterr().out
    assert all(any(line.startswith(f"{row.part} {row.name} ") for line in printed.splitlines()) for row in ROWS)
    assert "val_8" in printed
    assert printed.splitlines()[-1] == "DIFFERS  a.json edited"
    assert "and 3 more" not in printed
