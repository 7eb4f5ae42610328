"""Third step: export the trained model as the graphs that are served, and hold them against the network."""

from __future__ import annotations

from pathlib import Path

from pneumonia.config.schema import Config
from pneumonia.data import packing
from pneumonia.data.manifest import Manifest
from pneumonia.data.patients import PUBLISHED_AGES
from pneumonia.inference.exporting import ExportData, LabelledImages
from pneumonia.inference.exporting import export_model as export
from pneumonia.progress import Progress, silent
from pneumonia.records.export import EXPORT_FOLDER, ExportRecord
from pneumonia.records.steps import Dataset, ExportedModel, TrainedModel
from pneumonia.registry.folds import refuse_folds
from pneumonia.registry.models import EXPORT
from pneumonia.timing import reports_time
from pneumonia.tracking.run import Run


@reports_time
def export_model(dataset: Dataset, trained: TrainedModel, config: Config, progress: Progress = silent) -> ExportedModel:
    """Export a trained model: ONNX in float32 and int8, with three outputs, and the reference of the input check.

    Ranges and reference are taken from training images, agreement and thresholds from validation images. An export that
    is there already, by the same code, is reused.

    Raises:
        PneumoniaError: the model is of one fold of a cross-validation.
        DataError: the float32 graph does not compute what the network does, or the files cannot be read or written.
        TrackingError: the tracking server cannot be used.
    """
    refuse_folds(config.model_dump(), f"model {trained.key[:8]}")
    folder = Path(trained.weights).parent / EXPORT_FOLDER
    found = export(Path(trained.weights), folder, export_data(dataset), config.train.threads, progress)
    run = Run.attach(trained.tracking_uri, trained.run_id)
    try:
        progress(0.9, 1.0, "logging the graphs")
        kept = _log(run, folder, found)
    finally:
        run.release()
    progress(1.0, 1.0, f"{found.precision} is served: {found.reason}")
    return ExportedModel(
        folder=str(folder),
        export_digest=kept,
        precision=found.precision,
        reason=found.reason,
        agreement=found.agreement,
    )


def export_data(dataset: Dataset) -> ExportData:
    """Return the training and validation images of a prepared data set."""
    manifest, path = Manifest.load(Path(dataset.manifest)), Path(dataset.pixels)
    pixels, statistics = packing.open_pixels(path), packing.open_statistics(path)
    published = all(entry.patient_source == "name" for entry in manifest.entries)
    return ExportData(
        LabelledImages.of(manifest, pixels, statistics, "train"),
        LabelledImages.of(manifest, pixels, statistics, "validation"),
        PUBLISHED_AGES if published and dataset.kind == "radiographs" else None,
    )


def _log(run: Run, folder: Path, found: ExportRecord) -> str:
    """Log the files with the run, and return the digest of the export that it holds.

    The files of a registered version do not change, so that another export of it is not logged.
    """
    held = run.tag(EXPORT)
    if held is not None and (held == found.digest() or run.is_registered()):
        return held
    run.log_folder(folder, EXPORT_FOLDER)
    agreement = found.agreement.model_dump()
    run.log_metrics({f"export_{name}": float(value) for name, value in agreement.items()})
    run.set_tags({EXPORT: found.digest(), "served_precision": found.precision})
    return found.digest()
