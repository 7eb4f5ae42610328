"""The command ``pneumonia evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pneumonia.cli.common import (
    ConfigFile,
    Json,
    OnUnreadable,
    Settings,
    complain,
    disclaim,
    emit_json,
    path_of,
    progress,
    resolve_config,
    working,
)
from pneumonia.cli.evaluate_tables import print_evaluation, print_robustness
from pneumonia.cli.out_folder import check_out
from pneumonia.cli.predict import Model, Threshold, load_predictor
from pneumonia.config.schema import Config, RegistryConfig


def evaluate(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", parser=path_of, help="Folder that holds NORMAL/ and PNEUMONIA/")
    ],
    model: Model = None,
    threshold: Threshold = None,
    on_unreadable: OnUnreadable = None,
    outside: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The images are of another place: register the metrics with the version, first on its card",
            show_default=False,
        ),
    ] = None,
    robustness: Annotated[
        bool,
        typer.Option(
            "--robustness",
            help="Score 100 images of each class again under noise, blur, contrast, compression, rotation, crop and "
            "downscaling, in five strengths; a registered version keeps the result",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            parser=path_of,
            help="Write a page with plots, the scores, and a sheet of the worst errors with heat maps",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    settings: Settings = None,
    file: ConfigFile = None,
) -> None:
    """Assess a model on a labelled folder: metrics, predictive values, slices and errors, with intervals by patient.

    docs/evaluation.md says what every number means and how it is computed.

    Patients are known from patients.csv (columns path, patient), DICOM's PatientID, a folder for each patient with
    data.patients=folder, or the published file names. An image of an unknown patient is drawn by itself.

    Images of a release set, which the gate checks a model's minimums on, are recognised, and the opening is entered:
    `pneumonia openings`.

    Example: `pneumonia evaluate data/chest_xray/test --model model.safetensors --json`
    """
    config = resolve_config(file, settings, {"data.on_unreadable": on_unreadable})
    with working(), progress("scoring") as on_progress:
        from pneumonia.data.layout import summarise
        from pneumonia.evidence.evaluation_files import write_page
        from pneumonia.evidence.labelled_evaluation import evaluate_folder
        from pneumonia.evidence.robustness import measure_robustness, store
        from pneumonia.inference import outside_set
        from pneumonia.inference.labelled_folder import find_labelled, find_patients

        if out is not None:
            check_out(out)  # before the opening is entered, which cannot be taken back
        images = find_labelled(folder)
        if words := summarise(images.passed_over, images.litter):
            complain(words)
        patients = find_patients(folder, images.labels, by_folder=config.data.patients == "folder")
        if outside is not None:
            outside_set.check_name(outside)
        predictor = load_predictor(model, threshold, _as_validated(config))
        found = evaluate_folder(
            predictor,
            images,
            patients,
            config.evaluation,
            skip_unreadable=config.data.on_unreadable == "skip",
            progress=on_progress,
            opening=lambda digests: outside_set.enter(config, predictor, digests, outside, complain),
        )
        document = found.document | {"passed_over": list(images.passed_over)}
        if outside is not None:
            outside_set.register(config, predictor, document, outside)
        changed = measure_robustness(predictor, found, config.evaluation, on_progress) if robustness else None
        if changed is not None:
            document["robustness"] = changed.model_dump(mode="json")
            if address := store(config, predictor, changed):
                complain(f"kept with {address}")
        if out is not None:
            complain(f"written: {write_page(out, predictor, found, changed)}")
    if as_json:
        emit_json(document)
    else:
        print_evaluation(document, found.assessment, folder)
        if changed is not None:
            print_robustness(changed)
    disclaim(as_json)


def _as_validated(config: Config) -> Config:
    """Return the settings of the validation: float32, every image, and by default the champion of real radiographs."""
    changes: dict[str, object] = {"check_input": False}
    if config.serving.precision == "auto":
        changes["precision"] = "fp32"
    if config.serving.model == "auto":
        changes["model"] = RegistryConfig().name
    return config.model_copy(update={"serving": config.serving.model_copy(update=changes)})
