"""Collect what a dossier is made of: from a training that has just been validated, or from a registered version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from pneumonia.config.recipe import recipe_digest
from pneumonia.config.schema import Config
from pneumonia.errors import DataError
from pneumonia.evidence.machine import describe_here
from pneumonia.records.cross_validation import CrossValidation
from pneumonia.records.dossier import DOSSIER_FOLDER, DOSSIER_JSON, SBOM, Environment
from pneumonia.records.evaluation import OutsideMetrics
from pneumonia.records.export import EXPORT_FOLDER
from pneumonia.records.model import WEIGHTS_ARTIFACT, ModelRecord, read_record
from pneumonia.records.signature import SIGNATURE_FOLDER
from pneumonia.records.steps import Dataset, ExportedModel, TrainedModel, Validation
from pneumonia.registry import models, openings, outside
from pneumonia.registry.ledger import Move
from pneumonia.registry.manifest import COMMIT_TAG
from pneumonia.registry.models import Version
from pneumonia.registry.openings import Opening
from pneumonia.registry.verified import check_registered
from pneumonia.tracking.artifacts import download_all, page_of
from pneumonia.tracking.cross_validation import find_cross_validation
from pneumonia.tracking.run_tags import read_tag

REPORT, DATA = "report", "data"
MADE_LATER = (DOSSIER_FOLDER, SIGNATURE_FOLDER)
"""Folders of a run that are made from the others, and are no part of what a dossier describes."""


@dataclass(frozen=True)
class DossierSource:
    """What a dossier is made of.

    Attributes:
        record: of the model.
        run_id, run_url: of the run; no address where no server serves one.
        files: of the run, by their path in it.
        made_at: ISO 8601 in UTC.
        training_commit: of the code that trained; None where it is not known.
        version: None where the model is not registered yet.
        outside: metrics on images of other places, so far.
        openings: of every release set of the store, so far.
        moves: of the registered name, so far.
        cross_validation: of the same recipe on the same data version; None where there is none.
        environment: of the machine; None where it is not known.
        policy: the change control plan that an earlier dossier of this version holds; None where there is none.
        sbom: an earlier dossier's; None: it is made of what is installed here.
        images: show single images; False: the page can be passed on without pictures of patients.
    """

    record: ModelRecord
    run_id: str
    run_url: str | None
    files: Mapping[str, Path]
    made_at: str
    training_commit: str | None = None
    version: Version | None = None
    outside: tuple[OutsideMetrics, ...] = ()
    openings: tuple[Opening, ...] = ()
    moves: tuple[Move, ...] = ()
    cross_validation: CrossValidation | None = None
    environment: Environment | None = None
    policy: dict[str, object] | None = field(default=None)
    sbom: Path | None = None
    images: bool = True


def of_training(
    dataset: Dataset, trained: TrainedModel, exported: ExportedModel, validation: Validation, config: Config
) -> DossierSource:
    """Collect what there is of a model that was validated and not registered yet.

    Raises:
        TrackingError: the store cannot be used.
        DataError: the weights cannot be read.
    """
    uri, place = trained.tracking_uri, Path(trained.weights)
    record = read_record(place)
    files = {
        WEIGHTS_ARTIFACT: place,
        "config.json": place.parent / "config.json",
        f"{DATA}/{Path(dataset.manifest).name}": Path(dataset.manifest),
        f"{DATA}/{Path(dataset.audit).name}": Path(dataset.audit),
        **_below(Path(exported.folder), EXPORT_FOLDER),
        **_below(Path(validation.report).parent, REPORT),
    }
    name = config.registry.name
    same = [version for version in models.versions(uri, name) if version.is_model(record)]
    return DossierSource(
        record=record,
        run_id=trained.run_id,
        run_url=trained.run_url,
        files={key: path for key, path in sorted(files.items()) if path.is_file()},
        made_at=_now(),
        training_commit=read_tag(uri, trained.run_id, COMMIT_TAG),
        outside=tuple(found for version in same for found in outside.registered(uri, version)),
        openings=tuple(openings.openings(uri)),
        moves=tuple(models.history(uri, name)),
        cross_validation=_cross_validation(uri, record),
        environment=describe_here(trained.computed_with),
    )


def gather(uri: str, version: Version, folder: Path) -> DossierSource:
    """Collect what there is now of a registered version: its files as they are in the run, and what came since.

    Args:
        uri: of the registry.
        version: whose dossier is wanted.
        folder: the run's files are fetched into it; it must stay until the dossier is built.

    Raises:
        PneumoniaError: the weights are others than were registered.
        TrackingError: the store cannot be used, or holds no such files.
        DataError: an earlier dossier of the run is damaged.
    """
    files = download_all(uri, version.run_id, folder)
    if WEIGHTS_ARTIFACT not in files:
        raise DataError(f"{version.uri}: run {version.run_id} holds no {WEIGHTS_ARTIFACT}; restore it from a backup")
    record = read_record(files[WEIGHTS_ARTIFACT])
    check_registered(version, record)
    environment, policy = _earlier(files.get(f"{DOSSIER_FOLDER}/{DOSSIER_JSON}"))
    return DossierSource(
        record=record,
        run_id=version.run_id,
        run_url=page_of(uri, version.run_id),
        files={name: path for name, path in files.items() if name.partition("/")[0] not in MADE_LATER},
        made_at=_now(),
        training_commit=read_tag(uri, version.run_id, COMMIT_TAG),
        version=version,
        outside=tuple(outside.registered(uri, version)),
        openings=tuple(openings.openings(uri)),
        moves=tuple(models.history(uri, version.name)),
        cross_validation=_cross_validation(uri, record),
        environment=environment or describe_here(record.computed_with, of_the_model=False),
        policy=policy,
        sbom=files.get(f"{DOSSIER_FOLDER}/{SBOM}"),
    )


def attached(folder: Path) -> dict[str, Path]:
    """Return the dossier and the signature that were attached to a run, of the files that `gather` has fetched."""
    return {name: path for each in MADE_LATER for name, path in _below(folder / each, each).items()}


def _below(folder: Path, name: str) -> dict[str, Path]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {f"{name}/{path.relative_to(folder).as_posix()}": path for path in found}


def _earlier(path: Path | None) -> tuple[Environment | None, dict[str, object] | None]:
    """Return environment and change control plan from the dossier that was made with the model."""
    if path is None:
        return None, None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        environment = found.get("environment")
        return environment and Environment.model_validate(environment), found.get("policy")
    except (ValueError, AttributeError) as error:
        raise DataError(f"{path.name}: the run's dossier is damaged ({error}); restore it from a backup") from None


def _cross_validation(uri: str, record: ModelRecord) -> CrossValidation | None:
    try:
        config = Config.model_validate(record.config)
    except ValidationError:
        return None  # of an earlier release, whose recipe no cross-validation of this one can have
    return find_cross_validation(uri, recipe_digest(config), record.data_digest)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
