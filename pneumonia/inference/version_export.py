"""Export a registered version that has no export yet, from its weights and the images that it was trained on."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from pneumonia.config.schema import Config
from pneumonia.data.packing import pack
from pneumonia.errors import ConfigError, DataError, PneumoniaError
from pneumonia.files import is_folder, printable
from pneumonia.inference.exporting import ExportData, LabelledImages, export_model
from pneumonia.progress import Progress, silent, within
from pneumonia.records.export import EXPORT_FOLDER, ExportRecord
from pneumonia.records.model import ModelRecord
from pneumonia.registry import models, registration, verified
from pneumonia.registry.ledger_run import LedgerDamaged
from pneumonia.registry.mirroring import update_mirror
from pneumonia.tracking.client import check_store, tracking_uri
from pneumonia.tracking.inputs import dataset_source
from pneumonia.tracking.run import Run


def export_version(
    uri: str, version: models.Version, config: Config, data: Path | None, progress: Progress = silent
) -> ExportRecord | None:
    """Export a version, keep the files with its run, and register their digest.

    Args:
        uri: of the registry.
        version: to be exported.
        config: names the work folder and the threads.
        data: folder of the images that it was trained on; None: the float32 graph alone, without an input check.
        progress: called with the share that is done.

    Returns:
        The export's record; None where the version has one already, which never changes.

    Raises:
        DataError: the images are not those of the version's training.
        PneumoniaError: the version's weights are not those that were registered.
        TrackingError: the store cannot be used.
    """
    if version.export_digest:
        update_mirror(uri, Path(config.work).resolve(), version.name)
        return None
    with verified.fetched(uri, version) as (weights, record), tempfile.TemporaryDirectory() as place:
        images = None if data is None else _data(data, record, config, within(progress, 0.0, 0.3, "decoding images"))
        folder = Path(place) / EXPORT_FOLDER
        found = export_model(weights, folder, images, config.train.threads, within(progress, 0.3, 0.9, "exporting"))
        run = Run.attach(uri, version.run_id)
        try:
            if run.tag(models.EXPORT) not in (None, found.digest()):
                raise PneumoniaError(f"{version.uri}: its run holds another export; register that one, or remove it")
            run.log_folder(folder, EXPORT_FOLDER)
            run.set_tags({models.EXPORT: found.digest(), "served_precision": found.precision})
        finally:
            run.release()
    registration.register_export(uri, version, found.digest())
    update_mirror(uri, Path(config.work).resolve(), version.name)
    return found


def find_version(config: Config, source: str, *, damaged: bool = False) -> tuple[str, models.Version]:
    """Return the store and the registered version of an address ``models:/NAME/VERSION`` or ``models:/NAME@ALIAS``.

    Args:
        config: names the store.
        source: the address.
        damaged: to be looked at only: the champion of a damaged ledger is the version with the alias.

    Raises:
        ConfigError: another address.
        PneumoniaError: there is no such version.
        TrackingError: the store cannot be used.
    """
    match = re.fullmatch(r"models:/+([^/@]+)[/@]([^/@]+)", source)
    if match is None:
        raise ConfigError(f"--model {source}: name a registered version: models:/NAME/VERSION or models:/NAME@ALIAS")
    uri = tracking_uri(config)
    check_store(uri)
    try:
        return uri, models.get(uri, match[1], match[2])
    except LedgerDamaged:
        if not damaged:
            raise
        return uri, models.get(uri, match[1], match[2], damaged=True)


def training_data(uri: str, version: models.Version) -> Path:
    """Return the folder that the version's run was given its images from.

    Raises:
        DataError: the folder is not here.
        TrackingError: the store cannot be used.
    """
    root = Path(dataset_source(uri, version.run_id))
    if not is_folder(root):
        raise DataError(
            f"{version.uri}: its images were in {printable(root)}, which is not here; name their folder with --data, "
            "or export without an input check: --without-data"
        )
    return root


def _data(root: Path, record: ModelRecord, config: Config, progress: Progress) -> ExportData:
    """Prepare the images as the training did, and check that they are the same."""
    settings = Config.model_validate(record.config).data
    packed = pack(root, settings, record.preprocess, Path(config.work).resolve(), progress)
    if packed.manifest.split_digest != record.split_digest:
        raise DataError(
            f"{root}: holds other images than {record.name} was trained on, or divides them otherwise; name the folder "
            "of its training, or export without an input check: --without-data"
        )
    train, validation = (
        LabelledImages.of(packed.manifest, packed.pixels, packed.features, split) for split in ("train", "validation")
    )
    return ExportData(train, validation)
