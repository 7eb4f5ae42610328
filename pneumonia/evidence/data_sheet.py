"""Write the data sheet of a model's images, from the manifest and the audit that its run holds."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from pneumonia.config.schema import CLASSES
from pneumonia.data.audit import checks
from pneumonia.data.audit.report import AuditReport
from pneumonia.data.manifest import Manifest
from pneumonia.data.patients import PUBLISHED_AGES, SOURCES, UNKNOWN, unknown
from pneumonia.records.dossier import AuditCheck, DataSheet, ShortcutFeature, SplitCounts
from pneumonia.records.model import ModelRecord
from pneumonia.registry.openings import rows_digest

PUBLISHED = (
    "Kermany, Zhang, Goldbaum: Labeled Optical Coherence Tomography (OCT) and Chest X-Ray Images for Classification, "
    "Mendeley Data, version 2, doi:10.17632/rscbjbr9sj.2"
)
USES = {
    "train": "trained on",
    "validation": "choice of the epoch, calibration and threshold",
    "gate": "comparison of models, shortcut dependence, calibration's limit",
    "test": "the release set: minimums of the plan, opened as rarely as possible",
    "unused": "not used, by data.patient_fraction",
}


def data_sheet(record: ModelRecord, manifest: Manifest | None) -> DataSheet:
    """Return the data sheet.

    Args:
        record: of the model.
        manifest: of its images; None where the run holds none.
    """
    if manifest is None:
        return DataSheet(
            title="Phantoms" if record.phantom else "Images of this model",
            data_digest=record.data_digest,
            split_digest=record.split_digest,
            dvc_md5=record.dvc_md5,
            unknown=("The run holds no manifest: which images are in which split cannot be said.",),
        )
    entries = manifest.entries
    published = not record.phantom and all(entry.patient_source == "name" for entry in entries)
    release = [entry.sha256 for entry in entries if entry.split == "test"]
    return DataSheet(
        **_origin(record.phantom, published),
        data_digest=record.data_digest,
        split_digest=record.split_digest,
        pixels_digest=manifest.pixels_digest,
        dvc_md5=record.dvc_md5,
        release_rows=rows_digest(release) if release else None,
        splits=_splits(manifest),
        known_by={SOURCES[name]: n for name, n in Counter(entry.patient_source for entry in entries).most_common()},
        encodings=dict(Counter(entry.encoding for entry in entries).most_common()),
        duplicates=len(checks.identical_images(entries)),
        unknown=tuple(_unknown(record.phantom, published, manifest)),
    )


def _origin(phantom: bool, published: bool) -> dict[str, str]:
    if phantom:
        return {
            "title": "Phantoms",
            "source": "drawn by this project (pneumonia.data.phantom)",
            "licence": "MIT",
            "population": "nobody: synthetic images of a thorax, with opacities for PNEUMONIA",
            "labels": "what was drawn",
        }
    if not published:
        return {"title": "Radiographs of this site"}
    low, high = PUBLISHED_AGES
    return {
        "title": "Chest X-Ray Images (Pneumonia)",
        "source": PUBLISHED,
        "licence": "CC BY 4.0",
        "population": f"children of {low:g} to {high:g} years, one hospital (Guangzhou), frontal views",
        "labels": "read by two physicians, the test folder's checked by a third (Kermany et al., Cell 172, 2018)",
    }


def _splits(manifest: Manifest) -> tuple[SplitCounts, ...]:
    found = []
    for split, use in USES.items():
        rows = [entry for entry in manifest.entries if entry.split == split]
        if rows:
            classes = Counter(CLASSES[entry.label] for entry in rows)
            known = {entry.patient for entry in rows if entry.patient_source != UNKNOWN}
            counts = {name: classes[name] for name in CLASSES}
            found.append(SplitCounts(split=split, use=use, classes=counts, patients=len(known) or None))
    return tuple(found)


def _unknown(phantom: bool, published: bool, manifest: Manifest) -> list[str]:
    """Say what is not known about real images."""
    if phantom:
        return []
    found = ["Sex, device and exposure are not in the data, nor each patient's age: no metric is divided by them."]
    if published:
        found.append(
            "How the images were chosen, when they were taken and how far the readers agreed is not published."
        )
    else:
        found.append("Source, licence, population and readers of the images are not recorded.")
    if count := unknown(entry.patient_source for entry in manifest.entries):
        found.append(f"The patients of {count} images are not known; intervals treat each as a patient of its own.")
    return found


def read_audit(path: Path) -> tuple[tuple[AuditCheck, ...], tuple[ShortcutFeature, ...]]:
    """Return the audit's checks, and its shortcut features.

    Raises:
        ValueError: the file is no report of an audit.
    """
    report = AuditReport.model_validate(json.loads(path.read_text(encoding="utf-8")))
    found = tuple(
        AuditCheck(
            name=name.replace("_", " "),
            outcome="ok" if finding.ok else "stops" if finding.stops else "warning",
            count=finding.count,
            summary=finding.summary,
        )
        for name, finding in report.findings.items()
    )
    kept = set(ShortcutFeature.model_fields)
    rows = [{key: value for key, value in row.items() if key in kept} for row in report.shortcuts.examples]
    return found, tuple(ShortcutFeature.model_validate(row) for row in rows)
