"""Build a model's dossier: one page that opens offline, the same as JSON, and the bill of materials."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from pneumonia.config.policy import BUILT_IN, load_policy
from pneumonia.data.manifest import Manifest
from pneumonia.errors import ConfigError, DataError
from pneumonia.evidence.checklists import answer
from pneumonia.evidence.data_sheet import data_sheet, read_audit
from pneumonia.evidence.machine import bundle_file
from pneumonia.evidence.model_card import model_card
from pneumonia.evidence.pictures import ROBUSTNESS, pictures_of
from pneumonia.evidence.sbom import bill_of_materials, summary
from pneumonia.evidence.sources import DossierSource
from pneumonia.evidence.weaknesses import find_weaknesses
from pneumonia.files import write_text
from pneumonia.records.assessment import Assessment, Robustness
from pneumonia.records.base import Document
from pneumonia.records.dossier import (
    DOSSIER_JSON,
    DOSSIER_PAGE,
    SBOM,
    DataSheet,
    Dossier,
    LedgerEntry,
    ReleaseOpening,
    SbomSummary,
)
from pneumonia.records.evaluation import ShortcutDependence, Verdict
from pneumonia.records.export import EXPORT_FOLDER, EXPORT_RECORD, ExportRecord
from pneumonia.records.model import ModelRecord
from pneumonia.registry.models import Version
from pneumonia.reporting.assessment_plots import robustness_plot
from pneumonia.reporting.dossier.page import page

MANIFEST, AUDIT = "data/manifest.csv", "data/audit.json"
VERDICT, ASSESSMENT = "report/verdict.json", "report/assessment.json"
DEPENDENCE = "report/dependence.json"
Found = TypeVar("Found", bound=Document)


def build(source: DossierSource, folder: Path) -> Path:
    """Write `DOSSIER_PAGE`, `DOSSIER_JSON` and `SBOM` into a folder, which is created where it is missing.

    Args:
        source: from `pneumonia.evidence.sources`.
        folder: files of these names are replaced.

    Returns:
        The folder.

    Raises:
        DataError: a file of the run is damaged, the packages cannot be listed, or the folder cannot be written.
    """
    dossier = compose(source)
    if source.sbom is None:
        text = json.dumps(bill_of_materials(dossier), indent=1, sort_keys=True) + "\n"
    else:
        text = source.sbom.read_text(encoding="utf-8")
    dossier = dossier.model_copy(update={"sbom": _summary(text, source.sbom)})
    dossier = dossier.model_copy(update={"checklists": answer(dossier)})
    images = {picture.path: _picture(dossier, source.files[picture.path]) for picture in dossier.pictures}
    write_text(folder / SBOM, text)
    write_text(folder / DOSSIER_JSON, dossier.model_dump_json(indent=1) + "\n")
    write_text(folder / DOSSIER_PAGE, page(dossier, images))
    return folder


def compose(source: DossierSource) -> Dossier:
    """Return the dossier of what was collected, without its bill of materials and its checklists.

    Raises:
        DataError: a file of the run is damaged.
    """
    record, files = source.record, source.files
    manifest = Manifest.load(files[MANIFEST]) if MANIFEST in files else None
    data = data_sheet(record, manifest)
    verdict = _read(files, VERDICT, Verdict)
    audit, features = _audit(files)
    version = source.version
    dossier = Dossier(
        name=version.name if version else record.name,
        version=version.version if version else None,
        aliases=tuple(version.aliases) if version else (),
        withdrawn=version.withdrawn if version else "",
        run_id=source.run_id,
        run_url=source.run_url,
        made_at=source.made_at,
        training_commit=source.training_commit,
        phantom=record.phantom,
        demo=verdict is not None and verdict.policy is None,
        record=record,
        card=model_card(record, data, _read(files, f"{EXPORT_FOLDER}/{EXPORT_RECORD}", ExportRecord)),
        data=data,
        outside=source.outside,
        verdict=verdict,
        policy=_policy(verdict, record, source.policy),
        assessment=_read(files, ASSESSMENT, Assessment),
        dependence=_dependence(files),
        openings=_openings(source, data),
        moves=tuple(LedgerEntry(**each.model_dump(exclude={"id"})) for each in source.moves),
        cross_validation=source.cross_validation,
        robustness=_read(files, ROBUSTNESS, Robustness),
        audit=audit,
        shortcut_features=features,
        environment=source.environment,
        files=tuple(bundle_file(name, path) for name, path in files.items()),
        commands=_commands(record, version),
    )
    dossier = dossier.model_copy(update={"pictures": pictures_of(dossier, images=source.images)})
    return dossier.model_copy(update={"weaknesses": find_weaknesses(dossier)})


def _picture(dossier: Dossier, path: Path) -> bytes:
    """Return a picture of the run; that of the robustness is drawn here, because the run holds its numbers alone."""
    if path.suffix == ".png" or dossier.robustness is None:
        return path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        return robustness_plot(Path(folder), dossier.robustness, phantom=dossier.phantom).read_bytes()


def _read(files: Mapping[str, Path], name: str, kind: type[Found]) -> Found | None:
    if name not in files:
        return None
    try:
        return kind.model_validate_json(files[name].read_text(encoding="utf-8"))
    except ValidationError as error:
        raise _damaged(name, f"{error.error_count()} errors") from None


def _damaged(name: str, why: str) -> DataError:
    return DataError(f"{name} of the run is damaged ({why}); restore it from a backup, or validate the model again")


def _dependence(files: Mapping[str, Path]) -> dict[str, ShortcutDependence] | None:
    if DEPENDENCE not in files:
        return None
    try:
        found = json.loads(files[DEPENDENCE].read_text(encoding="utf-8"))
        return {name: ShortcutDependence.model_validate(each) for name, each in found.items()}
    except (ValueError, AttributeError) as error:
        raise _damaged(DEPENDENCE, str(error).partition("\n")[0]) from None


def _audit(files: Mapping[str, Path]) -> Any:
    if AUDIT not in files:
        return (), ()
    try:
        return read_audit(files[AUDIT])
    except ValueError as error:
        raise _damaged(AUDIT, str(error).partition("\n")[0]) from None


def _policy(verdict: Verdict | None, record: ModelRecord, earlier: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the change control plan of the verdict: an earlier dossier's, or the one at hand if it is the same."""
    if verdict is None or verdict.policy is None:
        return None
    if earlier is not None:
        return earlier
    try:
        found = load_policy(record.config.get("gate", {}).get("policy", BUILT_IN))
    except ConfigError:
        return None  # the plan was a file that is no longer there; the verdict has its digest
    return found.model_dump(mode="json") if found.digest == verdict.policy else None


def _openings(source: DossierSource, data: DataSheet) -> tuple[ReleaseOpening, ...]:
    """Return the openings of this model's release set, by any model."""
    return tuple(
        ReleaseOpening(
            **each.model_dump(include={"when", "who", "purpose", "model", "weights", "demo"}),
            this_model=each.weights == source.record.weights_digest,
        )
        for each in source.openings
        if each.rows == data.release_rows
    )


def _commands(record: ModelRecord, version: Version | None) -> dict[str, str]:
    """Return what adds the parts that are missing, and what checks the rest."""
    number, name = (version.version, version.name) if version else ("VERSION", record.name)
    uri, profile = f"models:/{name}/{number}", record.config.get("profile", "full")
    return {
        "outside": f"pneumonia evaluate DIR --outside NAME --model {uri}",
        "robustness": f"pneumonia evaluate DIR --robustness --model {uri}",
        "cross_validation": f"python flows/cross_validation.py --profile {profile} --data DIR",
        "verify": f"pneumonia verify {number} --name {name}",
        "reproduce": f"pneumonia reproduce {number} --name {name}",
        "dossier": f"pneumonia dossier {number} --name {name} --out DIR",
    }


def _summary(text: str, source: Path | None) -> SbomSummary:
    try:
        return summary(json.loads(text), hashlib.sha256(text.encode()).hexdigest())
    except (ValueError, KeyError) as error:
        raise _damaged(f"dossier/{source.name if source else SBOM}", repr(error)) from None
