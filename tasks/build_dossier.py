"""Fifth step: write the dossier, list the digests of the version's files, and sign the list."""

from __future__ import annotations

from pathlib import Path

from pneumonia.config.schema import Config
from pneumonia.evidence.dossier import build
from pneumonia.evidence.sources import of_training
from pneumonia.progress import Progress, silent, within
from pneumonia.records.dossier import DOSSIER_FOLDER, DOSSIER_JSON, DOSSIER_PAGE
from pneumonia.records.export import EXPORT_FOLDER
from pneumonia.records.model import read_record
from pneumonia.records.steps import BuiltDossier, Dataset, ExportedModel, TrainedModel, Validation
from pneumonia.registry.manifest import file_digest
from pneumonia.registry.signing import sign_run
from pneumonia.timing import reports_time
from pneumonia.tracking.run import Run


@reports_time
def build_dossier(
    dataset: Dataset,
    trained: TrainedModel,
    exported: ExportedModel,
    validation: Validation,
    config: Config,
    progress: Progress = silent,
) -> BuiltDossier:
    """Build the dossier of a validated model, whatever its verdict, and sign the list of its version's files.

    The files of a registered version do not change: a dossier of it that is built again is written here, and not
    logged; `pneumonia dossier` writes the present one.

    Raises:
        ConfigError: the private key cannot be used.
        PneumoniaError: a file of the run is missing or damaged, or the tracking server cannot be used.
    """
    weights = Path(trained.weights)
    progress(0.0, 1.0, "collecting what there is of the model")
    folder = build(of_training(dataset, trained, exported, validation, config), weights.parent / DOSSIER_FOLDER)
    run = Run.attach(trained.tracking_uri, trained.run_id)
    try:
        if not run.is_registered():
            run.log_folder(folder, DOSSIER_FOLDER)
    finally:
        run.release()
    files = {
        "weights": weights,
        EXPORT_FOLDER: Path(exported.folder),
        "report": Path(validation.report).parent,
        DOSSIER_FOLDER: folder,
    }
    record = read_record(weights)
    signed = sign_run(
        trained.tracking_uri, trained.run_id, files, record, config.signing, within(progress, 0.7, 1.0, "signing")
    )
    return BuiltDossier(
        folder=str(folder),
        page=str(folder / DOSSIER_PAGE),
        digest=file_digest(folder / DOSSIER_JSON),
        manifest_digest=signed.digest,
        signed=signed.signed,
    )
