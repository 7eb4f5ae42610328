"""The command ``pneumonia dossier``: write a version's dossier, as it was registered and as it is now."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from pneumonia.cli.common import (
    ConfigFile,
    Json,
    Settings,
    complain,
    disclaim,
    emit,
    emit_json,
    resolve_config,
    working,
)

REGISTERED = "registered"
"""Folder of the files as they were signed, beside the page of today."""
Number = Annotated[str, typer.Argument(metavar="VERSION", help="Number or alias of a registered version")]
Name = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", help="Registered model; pneumonia-resnet18 by default", show_default=False),
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the dossier; created where it is missing")]


def dossier(
    version: Number,
    out: Out,
    name: Name = None,
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
    # with a folder that is no phantoms', the default name is that of radiographs
    config = resolve_config(file, [f"data.root={os.devnull}", *(settings or [])], profile="full", any_model=True)
    with working(), tempfile.TemporaryDirectory() as place:
        from pneumonia.evidence.dossier import build
        from pneumonia.evidence.sources import attached, gather
        from pneumonia.records.dossier import DOSSIER_JSON, DOSSIER_PAGE, Dossier
        from pneumonia.registry import models
        from pneumonia.tracking.client import check_store, tracking_uri

        uri = tracking_uri(config)
        check_store(uri, writing=False)
        found = models.get(uri, name or config.registry.name, version)
        folder = build(gather(uri, found, Path(place)), out)
        kept = attached(Path(place))
        for path, source in kept.items():
            target = folder / REGISTERED / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        made = Dossier.model_validate_json((folder / DOSSIER_JSON).read_text(encoding="utf-8"))
    if not kept:
        complain(f"{found.uri}: no dossier was attached when it was registered, so that {REGISTERED}/ is not written")
    if as_json:
        emit_json({"version": found.version, "name": found.name, "page": str(folder / DOSSIER_PAGE),
                   "weaknesses": [each.model_dump() for each in made.weaknesses]})  # fmt: skip
    else:
        emit(f"{folder / DOSSIER_PAGE}: {found.name} {found.version}")
        for each in made.weaknesses:
            emit(f"  {each.weight:<9}  {each.topic}: {each.text}")
    disclaim(as_json)
