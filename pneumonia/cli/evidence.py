"""The command ``pneumonia dossier``: write a version's dossier, as it was registered and as it is now."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from pneumonia.cli.common import (
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
    resolve_config,
    working,
)
from pneumonia.cli.out_folder import check_out
from pneumonia.errors import ConfigError

REGISTERED = "registered"
"""Folder of the files as they were signed, beside the page of today."""
Out = Annotated[
    Path,
    typer.Option("--out", metavar="DIR", parser=path_of, help="Folder for the dossier; created where it is missing"),
]


def dossier(
    version: Number,
    out: Out,
    name: Name = None,
    without_images: Annotated[
        bool,
        typer.Option(
            "--without-images", help="Leave out the sheet of errors and the attached files, so as to pass the page on"
        ),
    ] = False,
    as_json: Json = False,
    settings: Settings = None,
    file: ConfigFile = None,
) -> None:
    """Write a version's dossier: what it is for, where it is weak, and what shows how it earned its place.

    DIR/dossier.html opens in any browser, offline; dossier.json is the same as a document, sbom.cdx.json the bill of
    materials. They say what is known now, outside metrics and openings since the registration included; the files that
    were attached, and signed, at the registration are below DIR/registered.

    Example: `pneumonia dossier champion --out dossier`
    """
    config = resolve_config(file, settings, any_model=True)
    with working(), tempfile.TemporaryDirectory() as place:
        check_out(out)
        if without_images:
            _refuse_images_in(out)
        from pneumonia.evidence.artifact_names import named_by_artifact
        from pneumonia.evidence.dossier import build
        from pneumonia.evidence.sources import attached, gather
        from pneumonia.inference.version_export import find_version
        from pneumonia.records.dossier import DOSSIER_JSON, DOSSIER_PAGE, Dossier

        uri, found = find_version(config, address_of(version, name))
        with named_by_artifact(Path(place)):
            folder = build(replace(gather(uri, found, Path(place)), images=not without_images), out)
        kept = {} if without_images else attached(Path(place))
        for path, source in kept.items():
            target = folder / REGISTERED / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        made = Dossier.model_validate_json((folder / DOSSIER_JSON).read_text(encoding="utf-8"))
    if not kept and not without_images:
        complain(f"{found.uri}: no dossier was attached when it was registered, so that {REGISTERED}/ is not written")
    if as_json:
        emit_json({"version": found.version, "name": found.name, "page": str(folder / DOSSIER_PAGE),
                   "weaknesses": [each.model_dump() for each in made.weaknesses]})  # fmt: skip
    else:
        emit(f"{folder / DOSSIER_PAGE}: {found.name} {found.version}")
        for each in made.weaknesses:
            emit(f"  {each.weight:<9}  {each.topic}: {each.text}")
    disclaim(as_json)


def _refuse_images_in(out: Path) -> None:
    """Refuse a folder that holds the images of an earlier dossier, which would be passed on with the page."""
    kept = out / REGISTERED
    if kept.exists() or kept.is_symlink():
        raise ConfigError(
            f"{kept}: is there from an earlier dossier and holds images of patients, which --without-images is to keep "
            "back; remove that folder, or name another one with --out"
        )
