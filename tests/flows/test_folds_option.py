"""A number of folds that cannot be, and an address that would not be used, are refused before a flow begins."""

from __future__ import annotations

from types import ModuleType

import pytest
import typer
from typer.testing import CliRunner

from flows import cross_validation, score_archive


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


@pytest.mark.parametrize(
    ("flow", "arguments"), [(cross_validation, []), (score_archive, ["archive", "--out", "out.parquet"])]
)
def test_an_address_without_its_engine_is_refused_first(
    flow: ModuleType, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("announce", "check_servers"):
        monkeypatch.setattr(flow, name, lambda _: pytest.fail("something began"), raising=False)
    app = typer.Typer()
    app.command()(flow.main)
    done = CliRunner().invoke(app, [*arguments, "--address", "127.0.0.1:6379"])
    assert done.exit_code == 2
    assert "add --engine ray" in done.output + capsys.readouterr().err
