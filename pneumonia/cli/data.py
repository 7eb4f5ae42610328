"""``pneumonia data fetch``, ``phantom`` and ``audit``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pneumonia.cli.common import (
    DISCLAIMER,
    FINDING,
    ConfigFile,
    Json,
    Settings,
    complain,
    emit,
    emit_json,
    progress,
    resolve_config,
    working,
)
from pneumonia.config.schema import DATA_FOLDER, PHANTOM_ROOT, Config

app = typer.Typer(help="Fetch, draw and check radiographs.", no_args_is_help=True, rich_markup_mode="markdown")


class Source(StrEnum):
    """Who publishes the radiographs."""

    mendeley = "mendeley"
    kaggle = "kaggle"


@app.command()
def fetch(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; chest_xray/ is made in it")] = (
        DATA_FOLDER.parent
    ),
    source: Annotated[Source, typer.Option("--from", help="Mendeley Data, or Kaggle's copy")] = Source.mendeley,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Another address of the archive", show_default=False)
    ] = None,
    sha256: Annotated[
        str | None, typer.Option(metavar="HEX", help="What the archive must hash to", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Download the published radiographs (1.2 GB). A download that was broken off goes on where it was.

    Kermany, Zhang, Goldbaum: Mendeley Data 10.17632/rscbjbr9sj, CC BY 4.0.

    Example: `pneumonia data fetch data`
    """
    if source is Source.kaggle and (url or sha256):
        raise typer.BadParameter("--url and --sha256 go with --from mendeley; kagglehub knows Kaggle's address")
    with working():
        from pneumonia.data.download.published import MENDELEY_URL, fetch, fetch_kaggle

        if source is Source.kaggle:
            with progress("linking films") as tell:
                root = fetch_kaggle(folder, tell)
        else:
            with progress("downloading", of_bytes=True) as tell, progress("unpacking") as unpacking:
                root = fetch(folder, url or MENDELEY_URL, sha256, tell, unpacking)
    if as_json:
        emit_json({"root": str(root)})
    else:
        emit(f"films in {root}; next: pneumonia data audit {root}")


@app.command()
def phantom(
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Where to; phantoms/ in the work folder by default")
    ] = None,
    train: Annotated[int | None, typer.Option(metavar="N", help="Films in train/, both classes together")] = None,
    test: Annotated[int | None, typer.Option(metavar="N", help="Films in test/, both classes together")] = None,
    size: Annotated[int | None, typer.Option(metavar="PIXELS", help="Side of a film")] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Seed of the generator")] = None,
    as_json: Json = False,
    settings: Settings = None,
    file: ConfigFile = None,
) -> None:
    """Draw synthetic chest radiographs. They show no patient, and what is learned from them holds for none.

    Example: `pneumonia data phantom /tmp/phantoms --train 1200 --test 400`
    """
    named = {"train": train, "test": test, "size": size, "seed": seed}
    config = resolve_config(file, settings, {f"phantom.{key}": value for key, value in named.items()})
    with working():
        root = _draw(config, folder or Path(config.work) / "phantoms")
    if as_json:
        emit_json({"root": str(root), **config.phantom.model_dump()})
    else:
        emit(f"{config.phantom.train} + {config.phantom.test} phantoms in {root}")


@app.command()
def audit(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="Folder that holds train/ and test/; data.root by default"),
    ] = None,
    as_json: Json = False,
    settings: Settings = None,
    file: ConfigFile = None,
) -> None:
    """Check a data set: unreadable, duplicate and misplaced films, patients on both sides, shortcuts.

    Ends with 1 where a finding would stop the pipeline.

    Example: `pneumonia data audit data/chest_xray --json`
    """
    config = resolve_config(file, settings, {"data.root": folder})
    with working():
        from pneumonia.data import packing
        from pneumonia.data.audit.report import audit, markdown
        from pneumonia.data.audit.shortcut_detector import detect_shortcuts

        root = Path(config.data.root)
        if config.data.root == PHANTOM_ROOT:
            root = _draw(config, Path(config.work) / "phantoms")
        # films that cannot be read are a finding here, whatever the pipeline would do about them
        lenient = config.data.model_copy(update={"on_unreadable": "skip"})
        with progress("decoding films") as tell:
            packed = packing.pack(root, lenient, config.preprocess, Path(config.work), tell)
        complain(f"{len(packed.manifest.entries)} films in {root}; looking for duplicates, leaks and shortcuts")
        report = audit(packed, config.data, detect_shortcuts(packed.manifest, packed.cues, config.data))
    if as_json:
        emit_json(report.model_dump(mode="json"))
    else:
        emit(f"# Audit of {root}\n\n{markdown(report)}\n{DISCLAIMER}")
    if report.leaks:
        complain(f"the pipeline would stop: {', '.join(report.leaks)}")
        raise typer.Exit(FINDING)


def _draw(config: Config, folder: Path) -> Path:
    from pneumonia.data.phantom import dataset

    with progress("drawing phantoms") as tell:
        return dataset.generate(folder, config.phantom, tell)
