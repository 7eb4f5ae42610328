"""A number of folds that leaves nothing to train on, or is too many, is refused before a flow begins."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from flows import cross_validation


@pytest.mark.parametrize("folds", ["1", "0", "101"])
def test_folds_out_of_range_are_refused_first(folds: str, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[object] = []
    monkeypatch.setattr(cross_validation, "cross_validation", lambda *given: begun.append(given))
    monkeypatch.setattr(cross_validation, "announce", begun.append)
    app = typer.Typer()
    app.command()(cross_validation.main)
    done = CliRunner().invoke(app, ["--folds", folds])
    assert done.exit_code == 2
    assert "--folds" in done.output
    assert begun == []
