"""The command ``pneumonia evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pneumonia.cli.common import (
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
from pneumonia.cli.predict import Model, Threshold, load_predictor
from pneumonia.config.schema import Config, RegistryConfig
from pneumonia.files import printable

METRIC_NAMES = {
    **{"auroc": "AUROC", "auprc": "AUPRC", "f1": "F1", "ece": "ECE", "brier": "Brier score"},
    **{"ece_balanced": "ECE, balanced", "brier_balanced": "Brier, balanced"},
    **{"ece_at_prevalence": "ECE, prevalence", "brier_at_prevalence": "Brier, prevalence"},
}


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
    as_json: Json = False,
    settings: Settings = None,
    file: ConfigFile = None,
) -> None:
    """Score a labelled folder: AUROC, sensitivity and more, each with an interval drawn by patient.

    Patients are known from patients.csv (columns path, patient), DICOM's PatientID, a folder for each patient with
    data.patients=folder, or the published file names. An image of an unknown patient is drawn by itself.

    Images of a release set, which the gate checks a model's minimums on, are recognised, and the opening is entered:
    `pneumonia openings`.

    Example: `pneumonia evaluate data/chest_xray/test --model model.safetensors --json`
    """
    config = resolve_config(file, settings, {"data.on_unreadable": on_unreadable})
    with working(), progress("scoring") as on_progress:
        from pneumonia.data.layout import summarise
        from pneumonia.inference import outside_set
        from pneumonia.inference.labelled_folder import evaluate_folder, find_labelled, find_patients

        skip = config.data.on_unreadable == "skip"
        images = find_labelled(folder)
        if words := summarise(images.passed_over, images.litter):
            complain(words)
        patients = find_patients(folder, images.labels, by_folder=config.data.patients == "folder")
        if outside is not None:
            outside_set.check_name(outside)
        predictor = load_predictor(model, threshold, _as_validated(config))
        found = evaluate_folder(
            predictor,
            images.labels,
            patients,
            config.evaluation,
            skip_unreadable=skip,
            progress=on_progress,
            opening=lambda digests: outside_set.enter(config, predictor, digests, outside, complain),
        )
        if outside is not None:
            outside_set.register(config, predictor, found, outside)
    found["passed_over"] = list(images.passed_over)
    if as_json:
        emit_json(found)
    else:
        _print_metrics(found, folder)
    disclaim(as_json)


def _as_validated(config: Config) -> Config:
    """Return the settings of the validation: float32, every image, and by default the champion of real radiographs."""
    changes: dict[str, object] = {"check_input": False}
    if config.serving.precision == "auto":
        changes["precision"] = "fp32"
    if config.serving.model == "auto":
        changes["model"] = RegistryConfig().name
    return config.model_copy(update={"serving": config.serving.model_copy(update=changes)})


def _patients(found: dict[str, Any]) -> str:
    """Say what the intervals are drawn by."""
    unknown = found["unknown_patients"]
    if not unknown:
        return f" of {found['patients']} patients"
    remedy = "to draw by patient, list them in patients.csv, or --set data.patients=folder where each has a folder"
    if found["patients"] is None:
        return f"; their patients are not known, so that intervals are by image ({remedy})"
    return f" of {found['patients']} patients and {unknown} whose patients are not known, drawn by image ({remedy})"


def _print_metrics(found: dict[str, Any], folder: Path) -> None:
    from pneumonia.data.patients import SOURCES, UNKNOWN

    counts = " + ".join(f"{count} {name}" for name, count in found["counts"].items())
    emit(f"{printable(folder)}: {found['n']} images ({counts}){_patients(found)}")
    by = [f"{n} by {SOURCES[name]}" for name, n in found["patient_sources"].items() if name != UNKNOWN]
    if by:
        emit(f"patients known of images: {', '.join(by)}")
    emit(f"{found['model']} {found['version']}, PNEUMONIA from {found['threshold']:g} on")
    emit(f"\n{'':<18} {'value':>6}   {100 * found['confidence']:g} % interval")
    for name, metric in found.items():
        if isinstance(metric, dict) and "low" in metric:
            label = METRIC_NAMES.get(name, name.replace("_", " "))
            emit(f"{label:<18} {metric['value']:6.3f}   {metric['low']:.3f} to {metric['high']:.3f}")
    for image in found["refused"]:
        emit(f"left out: {printable(image['file'])}: {image['reason']}")
