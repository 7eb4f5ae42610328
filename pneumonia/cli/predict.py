"""The command ``pneumonia predict``, and options that ``pneumonia evaluate`` shares."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumonia.cli.common import (
    FINDING,
    ConfigFile,
    Json,
    OnUnreadable,
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
from pneumonia.config.schema import Config
from pneumonia.errors import DataError
from pneumonia.files import is_folder, printable

if TYPE_CHECKING:
    from pneumonia.inference.predictor import Predictor


Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="URI",
        help="models:/NAME@champion, models:/NAME/VERSION, runs:/RUN or a .safetensors file; "
        "by default the champion of serving.model",
        show_default=False,
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, help="Probability from which an image is classified as PNEUMONIA; by default the model's own",
        show_default=False,
    ),
]  # fmt: skip


def predict(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", parser=path_of, help="JPEG, PNG or DICOM files, or folders of them"),
    ],
    model: Model = None,
    threshold: Threshold = None,
    on_unreadable: OnUnreadable = None,
    as_json: Json = False,
    settings: Settings = None,
    file: ConfigFile = None,
) -> None:
    """Score images: probability of PNEUMONIA, and the class at the threshold.

    An image that cannot be read is listed as refused, and the command ends with 1, or with 0 for --on-unreadable skip.

    Example: `pneumonia predict image.dcm more_images/ --model models:/pneumonia-resnet18@champion --json`
    """
    config = resolve_config(file, settings, {"data.on_unreadable": on_unreadable})
    images, passed_over = _expand(files)
    if passed_over:
        complain(passed_over)
    for path in images:  # before the model, whose message would be the only one where it is missing too
        if not os.path.exists(path):  # noqa: PTH110 - Path.exists raises where a name is too long
            complain(f"{printable(path)}: there is no such file")
    with working(), progress("scoring") as on_progress:
        results = load_predictor(model, threshold, config).score(images, on_progress)
    if as_json:
        emit_json(results)
    else:
        _print_scores(results)
    disclaim(as_json)
    refused = sum("refused" in result for result in results)
    if refused:
        complain(f"{refused} of {len(results)} images refused")
        if config.data.on_unreadable == "fail":
            raise typer.Exit(FINDING)


def _expand(paths: list[Path]) -> tuple[list[Path], str]:
    """Replace folders by the images in them, and say what was passed over there.

    Other paths are kept, and refused later where they are not images.
    """
    from pneumonia.data.layout import KINDS, summarise
    from pneumonia.data.listing import Listing, list_files

    images: list[Path] = []
    others: list[Path] = []
    litter = 0
    for path in paths:
        found = list_files(path) if is_folder(path) else Listing((path,))
        if not found.images:
            words = summarise(found.others, found.litter)
            raise DataError(f"{path}: holds no image ({KINDS}){'; ' if words else ''}{words}")
        images += found.images
        others += found.others
        litter += found.litter
    return images, summarise(others, litter)


def load_predictor(model: str | None, threshold: float | None, config: Config) -> Predictor:
    """Load a model, with another threshold where one is given."""
    from pneumonia.inference.predictor import Predictor

    predictor = Predictor.load(model, config)
    if threshold is not None:
        predictor.use_threshold(threshold)
    return predictor


def _print_scores(results: list[dict[str, Any]]) -> None:
    for result in results:
        if "refused" in result:
            emit(f"{'-':<6}  {'refused':<9}  {printable(result['file'])}: {result['reason']}")
        else:
            emit(f"{result['probability']:.4f}  {result['decision']:<9}  {printable(result['file'])}")
            for note in result.get("notes", ()):
                emit(f"{'':<17}  {note}")
    scored = next((result for result in results if "refused" not in result), None)
    if scored:
        complain(f"{scored['model']} {scored['version']}, PNEUMONIA from {scored['threshold']:g} on")
