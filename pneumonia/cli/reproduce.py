"""The command ``reproduce``: compute again what a version claims, and where wanted train it again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    emit_json,
    path_of,
    progress,
    resolve_config,
    working,
)
from pneumonia.cli.reproduce_tables import print_reproduction


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
    verbose: Annotated[bool, typer.Option("--verbose", help="Print every row, those that are equal too")] = False,
    as_json: Json = False,
    settings: Settings = None,
    file: ConfigFile = None,
) -> None:
    """Compute again what a version claims, from its commit, its data and its stored scores.

    Each number is a row: claimed, recomputed, difference, verdict. Printed are those that differ or may differ, what
    was not recomputed and why, and counts. A number that differs ends the command with 1. The stored scores are taken
    as they are: only --retrain makes them anew. The checkout is not touched; the recorded commit is checked out beside
    it, and runs in this environment.

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
    for note in found.notes:
        complain(f"note: {note}")
    if as_json:
        emit_json(found.model_dump(mode="json"))
    else:
        print_reproduction(found, verbose=verbose)
    disclaim(as_json)
    if not found.passed:
        raise typer.Exit(FINDING)
