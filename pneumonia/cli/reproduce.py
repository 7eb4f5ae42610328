"""The command ``reproduce``: compute again what a version claims, and where wanted train it again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pneumonia.cli.common import (
    FINDING,
    ConfigFile,
    Json,
    Name,
    Number,
    Settings,
    address_of,
    complain,
    disclaim,
    emit,
    emit_json,
    path_of,
    progress,
    resolve_config,
    working,
)

if TYPE_CHECKING:
    from pneumonia.records.reproduction import Reproduction, Row


def reproduce(
    version: Number,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train again with the recorded code, and compare weights and scores")
    ] = False,
    name: Name = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            parser=path_of,
            help="Images that it was trained on; by default brought through DVC",
            show_default=False,
        ),
    ] = None,
    repository: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            parser=path_of,
            help="Clone with the recorded commit; by default the one of this program",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    settings: Settings = None,
    file: ConfigFile = None,
) -> None:
    """Compute again what a version claims, from its commit, its data and its stored scores.

    Each number is a row: claimed, recomputed, difference, verdict. A number that differs ends the command with 1. The
    checkout is not touched; the recorded commit is checked out beside it, and runs in this environment.

    Example: `pneumonia reproduce champion --retrain`
    """  # fmt: skip
    config = resolve_config(file, settings, any_model=True)
    with working(), progress("reproducing") as on_progress:
        from pneumonia.evidence.checkout import PROJECT
        from pneumonia.evidence.reproduce import reproduce_version
        from pneumonia.inference.version_export import find_version

        uri, held = find_version(config, address_of(version, name))
        found = reproduce_version(
            uri, held, retrain=retrain, data=data, repository=repository or PROJECT, progress=on_progress
        )
    _print(found, as_json)
    disclaim(as_json)
    if not found.passed:
        raise typer.Exit(FINDING)


def _print(found: Reproduction, as_json: bool) -> None:
    for note in found.notes:
        complain(f"note: {note}")
    if as_json:
        emit_json(found.model_dump(mode="json"))
        return
    lines = [("claim", "claimed", "recomputed", "difference", "verdict"), *map(_line, found.rows)]
    wide = [max(len(line[at]) for line in lines) for at in range(5)]
    for line in lines:
        emit("  ".join(text.ljust(width) for text, width in zip(line, wide, strict=True)).rstrip())
    for row in found.rows:
        if row.note and row.verdict in ("differs", "may differ"):
            complain(f"{row.part} {row.name}: {row.verdict}: {row.note}")
    differing = [f"{row.part} {row.name}" for row in found.rows if row.verdict == "differs"]
    kept = sum(row.verdict == "not recomputed" for row in found.rows)
    emit(f"{found.version}: {len(found.rows)} claims, {len(differing)} differ, {kept} cannot be recomputed")
    for each in differing:
        emit(f"DIFFERS  {each}")


def _line(row: Row) -> tuple[str, str, str, str, str]:
    difference = "" if row.difference is None else f"{row.difference:+.3g}"
    return f"{row.part} {row.name}", _value(row.claimed), _value(row.recomputed), difference, row.verdict


def _value(value: float | str | None) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else value[:24]
