"""First step: find or draw images, decode them once, audit them and divide them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path

from pneumonia.config.resolve import is_phantom
from pneumonia.config.schema import CLASSES, PHANTOM_ROOT, Config, DataConfig
from pneumonia.data import packing
from pneumonia.data.audit.report import AuditReport, audit, markdown
from pneumonia.data.dvc import dvc_md5
from pneumonia.data.manifest import Manifest
from pneumonia.data.packing import Packed
from pneumonia.data.phantom import dataset
from pneumonia.data.split import folds_of, held_out_rows
from pneumonia.errors import ConfigError, DataError
from pneumonia.files import check_path, printable, write_text
from pneumonia.modelling.device import Compute
from pneumonia.modelling.network import build_network
from pneumonia.progress import Progress, silent, within
from pneumonia.records.steps import Dataset
from pneumonia.source_digest import source_digest
from pneumonia.timing import reports_time, timed

log = logging.getLogger(__name__)


@reports_time
def prepare_data(config: Config, progress: Progress = silent) -> Dataset:
    """Decode, pack and audit the images of `config.data.root`, and divide them by patient.

    Raises:
        DataError: images that cannot be used, or a leak between the splits; the audit's report names the files.
        ConfigError: phantoms with a model name that is not one for phantoms, or a folder whose name is no text.
    """
    check_requirements(config)
    # absolute, so that the paths in the document hold in any working directory
    work = _resolved("work", config.work)
    root = _resolved("data.root", config.data.root)
    if config.data.root == PHANTOM_ROOT:
        folder = dataset.folder_of(work, config.phantom)
        root = dataset.generate(folder, config.phantom, within(progress, 0.0, 0.5, "drawing phantoms"))
    packed = packing.pack(root, config.data, config.preprocess, work, within(progress, 0.5, 1.0, "decoding images"))
    if packed.phantom:
        _check_name(config, root)
    audited = _audit_folds(packed, config.data, work) if config.data.folds else _audit(packed, config.data, work)
    manifest = work / "audits" / _audit_name(packed.manifest, config.data) / "manifest.csv"
    packed.manifest.save(manifest)
    progress(1.0, 1.0, f"{len(packed.manifest.entries)} images ready")
    return Dataset(
        kind="phantom" if packed.phantom else "radiographs",
        root=str(root),
        manifest=str(manifest),
        pixels=str(packed.path),
        audit=str(audited),
        digest=packed.manifest.digest,
        split_digest=packed.manifest.split_digest,
        pixels_digest=packed.manifest.pixels_digest,
        dvc_md5=None if packed.phantom else dvc_md5(root, known=packed.md5),
        counts=_counts(_named(packed.manifest, config.data)),
        unreadable=tuple(str(image["file"]) for image in packed.unreadable),
    )


def _audit(packed: Packed, config: DataConfig, work: Path) -> Path:
    """Audit the data, and return the path of the report; a leak stops the pipeline."""
    return _audit_in(work / "audits" / _audit_name(packed.manifest, config), packed, config)


def _audit_in(folder: Path, packed: Packed, config: DataConfig) -> Path:
    report = audit(packed, config)
    write_text(folder / "audit.md", markdown(report))
    path = write_text(folder / "audit.json", report.model_dump_json(indent=2))
    _stop_at_leaks(report, folder)
    return path


def _stop_at_leaks(report: AuditReport, folder: Path) -> None:
    if report.leaks:
        raise DataError(f"the audit stops the pipeline: {', '.join(report.leaks)}; see {folder / 'audit.md'}")


def _audit_folds(packed: Packed, config: DataConfig, work: Path) -> Path:
    """Audit all folds of a cross-validation at once, each as a split of its own; return the path of the report.

    The report is of every fold, so that the first fold makes it and the others find it. An image or a patient in two
    folds, or a near-duplicate, stops the pipeline.
    """
    dealt = zip(packed.manifest.entries, folds_of(packed.manifest.entries, config), strict=True)
    entries = tuple(replace(entry, split=entry.split if fold is None else f"fold {fold + 1}") for entry, fold in dealt)
    every = replace(packed, manifest=Manifest(entries))
    rest = [packed.unreadable, packed.passed_over, packed.litter, source_digest("pneumonia.data.audit.report")]
    name = f"{_audit_name(every.manifest, config)}-{hashlib.sha256(json.dumps(rest).encode()).hexdigest()[:8]}"
    folder = work / "audits" / name
    if not (folder / "audit.json").exists():
        return _audit_in(folder, every, config)
    _stop_at_leaks(AuditReport.model_validate_json((folder / "audit.json").read_text(encoding="utf-8")), folder)
    return folder / "audit.json"


@timed("loading torchvision")
def check_requirements(config: Config) -> None:
    """Refuse, before anything is drawn or decoded, what a later step would refuse: name, device, initial weights.

    Raises:
        ConfigError: phantoms with a model name that is not one for phantoms, or weights that cannot be used.
        DataError: CUDA is configured and not available.
    """
    if is_phantom(config.data.root):
        _check_name(config, config.data.root)
    Compute.of(config.train)
    if config.model.weights not in ("imagenet", "none"):
        build_network(config.model.architecture, config.model.weights, seed=0)


def _check_name(config: Config, root: Path | str) -> None:
    if not config.registry.name.endswith("-phantom"):
        name = config.registry.name
        raise ConfigError(f"registry.name={name}: {root} holds phantoms; a name for them ends in -phantom")


def _resolved(setting: str, path: str) -> Path:
    """Return an absolute path that the documents of the steps can hold."""
    found = Path(path).resolve()
    try:
        check_path(str(found))
    except ValueError as error:
        raise ConfigError(f"{setting}: {printable(found)}: {error}") from None
    return found


def _audit_name(manifest: Manifest, config: DataConfig) -> str:
    """Name an audit and its manifest by all that they depend on: split, pixels, and when something is flagged."""
    limits = config.model_dump_json(include={"near_duplicate_correlation", "shortcut_auroc"})
    rest = hashlib.sha256(f"{manifest.pixels_digest} {limits}".encode()).hexdigest()
    return f"{manifest.split_digest[:16]}-{rest[:16]}"


def _named(manifest: Manifest, config: DataConfig) -> Manifest:
    """Return the manifest with a name of its own for the fold that is held out, which counts as unused otherwise."""
    if not config.folds:
        return manifest
    held = set(held_out_rows(manifest.entries, config).tolist())
    return Manifest(
        tuple(replace(entry, split="held_out") if row in held else entry for row, entry in enumerate(manifest.entries))
    )


def _counts(manifest: Manifest) -> dict[str, dict[str, int]]:
    found = Counter((entry.split, CLASSES[entry.label]) for entry in manifest.entries)
    splits = sorted({split for split, _ in found})
    return {split: {label: found[split, label] for label in CLASSES} for split in splits}
