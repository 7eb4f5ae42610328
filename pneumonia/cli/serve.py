"""The commands ``serve``, ``score``, ``explain`` and ``export``: use the champion."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pneumonia.cli.common import (
    FINDING,
    ConfigFile,
    Json,
    Settings,
    complain,
    disclaim,
    emit,
    emit_json,
    path_of,
    progress,
    resolve_config,
    working,
)
from pneumonia.cli.predict import Model
from pneumonia.credentials import redacted
from pneumonia.files import printable, write_bytes


class Engine(StrEnum):
    """Where an archive is scored."""

    local = "local"
    ray = "ray"


EngineOption = Annotated[
    Engine, typer.Option("--engine", help="local: this machine; ray: the machines of a Ray cluster")
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT", show_default=False,
        help="Of the Ray cluster; ray://HOST:10001 for Ray's client; otherwise that in RAY_ADDRESS",
    ),
]  # fmt: skip


class View(StrEnum):
    """What to draw."""

    overlay = "overlay"
    map = "map"
    image = "image"


def serve(
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME",
            help="Registered name, or models:/NAME@champion; by default serving.model",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="By default serving.port", show_default=False)
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="By default serving.host, this machine alone", show_default=False)
    ] = None,
    settings: Settings = None,
    file: ConfigFile = None,
) -> None:
    """Serve the champion: an API and a page on http://127.0.0.1:8000. Ctrl-C ends it.

    The server follows the champion: what is promoted is fetched, verified, tried and swapped in.

    Example: `pneumonia serve --port 8080 --model pneumonia-resnet18`
    """
    named = {"serving.model": model, "serving.port": port, "serving.host": host}
    config = resolve_config(file, settings, dict(named))
    from pneumonia.serving.server import run

    run(config)


def score(
    folder: Annotated[
        str, typer.Argument(metavar="DIR", help="Folder of images, at any depth: a path, or s3://… or gs://…")
    ],
    out: Annotated[str, typer.Option("--out", metavar="FILE", help="Parquet file to write: a path or URL")],
    model: Model = None,
    engine: EngineOption = Engine.local,
    address: Address = None,
    as_json: Json = False,
    settings: Settings = None,
    file: ConfigFile = None,
) -> None:
    """Score an archive of any size into a Parquet file, one row for each image.

    Stopped and started again, the command goes on where it was. Images that are refused have a row with code and
    reason, and end the command with 1. Archive and result may lie in an object store, whose credentials the libraries
    take from the environment. With --engine ray the machines of a cluster score; the result is the same.

    Example: `pneumonia score archive/ --out results.parquet`
    """
    if not out.endswith(".parquet"):
        raise typer.BadParameter(f"--out {printable(redacted(out))}: name a file that ends in .parquet")
    config = resolve_config(file, settings)
    with working(), progress("scoring") as on_progress:
        from pneumonia.inference.archive_run import run_scoring

        counts = run_scoring(
            config, folder, out, model, on_progress, engine=engine.value, address=address, on_words=complain
        )
    _report(counts, redacted(out), as_json)
    disclaim(as_json)
    if set(counts) - {"NORMAL", "PNEUMONIA"}:
        raise typer.Exit(FINDING)


def _report(counts: dict[str, int], out: str, as_json: bool) -> None:
    if as_json:
        emit_json({"file": out, "counts": counts})
        return
    total = Counter(counts).total()
    emit(f"{total} images in {printable(out)}: " + ", ".join(f"{n} {name}" for name, n in sorted(counts.items())))
    refused = {name: n for name, n in counts.items() if name not in ("NORMAL", "PNEUMONIA")}
    if refused:
        complain(f"{sum(refused.values())} refused; their rows have code and reason")


def explain(
    image: Annotated[Path, typer.Argument(metavar="FILE", parser=path_of, help="JPEG, PNG or DICOM")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE.png", parser=path_of, help="PNG to write")],
    view: Annotated[
        View, typer.Option(help="overlay: the map over the radiograph; map: the map alone; image: the radiograph")
    ] = View.overlay,
    model: Model = None,
    as_json: Json = False,
    settings: Settings = None,
    file: ConfigFile = None,
) -> None:
    """Write the heat map of an image: where the model saw PNEUMONIA (Grad-CAM of the last layer).

    The map shows what the model used, not where a disease is.

    Example: `pneumonia explain image.dcm --out heat.png`
    """
    config = resolve_config(file, settings)
    with working():
        from pneumonia.inference.heat_map import draw
        from pneumonia.inference.predictor import Predictor

        predictor = Predictor.load(model, config)
        answer = predictor.examine(image)
        found = {"file": str(image)} | predictor.model.document(answer)
        if not answer.refused:
            write_bytes(out, draw(answer, predictor.model.head, view.value))
    if as_json:
        emit_json(found)
    elif answer.refused:
        complain(f"{printable(image)}: {found['reason']}")
    else:
        emit(f"{found['probability']:.4f}  {found['decision']:<9}  {printable(out)}")
    disclaim(as_json)
    if answer.refused:
        raise typer.Exit(FINDING)


def export(
    model: Annotated[
        str, typer.Option("--model", metavar="URI", help="models:/NAME/VERSION or models:/NAME@ALIAS")
    ] = "models:/pneumonia-resnet18@champion",
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", parser=path_of, help="Images that it was trained on; by default those of its record"
        ),
    ] = None,
    without: Annotated[
        bool, typer.Option("--without-data", help="float32 alone, without an input check: its images are not here")
    ] = False,
    as_json: Json = False,
    settings: Settings = None,
    file: ConfigFile = None,
) -> None:
    """Export a registered version that has no export yet, as the graphs that are served. Needs torch.

    Example: `pneumonia export --model models:/pneumonia-resnet18/3 --data data/chest_xray`
    """
    config = resolve_config(file, settings)
    with working(), progress("exporting") as on_progress:
        from pneumonia.inference.version_export import export_version, find_version, training_data

        uri, version = find_version(config, model)
        images = None if without else data or training_data(uri, version)
        found = export_version(uri, version, config, images, on_progress)
    _print_export(version.uri, None if found is None else found.model_dump(mode="json"), as_json)


def _print_export(uri: str, found: dict[str, object] | None, as_json: bool) -> None:
    if as_json:
        emit_json({"model": uri, "export": found})
    elif found is None:
        emit(f"{uri} has an export already, which never changes; the mirror was brought up to date")
    else:
        emit(f"{uri}: {found['precision']} is served; {found['reason']}")
