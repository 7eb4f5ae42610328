"""The command ``verify``: check a version's signature, files, verdict and ledgers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pneumonia.cli.common import (
    FINDING,
    VERSION,
    ConfigFile,
    Json,
    Name,
    Settings,
    address_of,
    emit,
    emit_json,
    path_of,
    resolve_config,
    working,
)

if TYPE_CHECKING:
    from pneumonia.records.verification import Verification


def verify(
    version: Annotated[
        str | None,
        typer.Argument(metavar="VERSION", help=VERSION),
    ] = None,
    name: Name = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            parser=path_of,
            help="Check this folder of a version's files, without a registry",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    settings: Settings = None,
    file: ConfigFile = None,
) -> None:
    """Check that a version is what was signed, that its verdict approves it, and that the ledgers are intact.

    Every check is a row; one that has failed ends the command with 1. The signature is checked with
    signing.public_key.

    Example: `pneumonia verify champion --set signing.public_key=keys/signing-key.pub.pem`
    """  # fmt: skip
    if (version is None) == (bundle is None):
        raise typer.BadParameter("name a version, or a folder with --bundle")
    config = resolve_config(file, settings, any_model=True)
    with working():
        from pneumonia.evidence.verify import verify_bundle, verify_version

        if bundle is not None:
            found = verify_bundle(bundle, config.signing)
        else:
            from pneumonia.inference.version_export import find_version

            uri, held = find_version(config, address_of(str(version), name), damaged=True)
            found = verify_version(uri, held, config.signing)
    _print(found, as_json)
    if not found.passed:
        raise typer.Exit(FINDING)


def _print(found: Verification, as_json: bool) -> None:
    if as_json:
        emit_json(found.model_dump(mode="json"))
        return
    wide = max(len(check.name) for check in found.checks)
    for check in found.checks:
        emit(f"{check.outcome:<8}  {check.name:<{wide}}  {check.detail}")
    failed = [check.name for check in found.checks if check.outcome == "failed"]
    emit(f"{found.what}: {'FAILED: ' + ', '.join(failed) if failed else 'every check that was done is ok'}")
