"""Collect what a validation's report says about the data."""

from __future__ import annotations

from collections import Counter

from pneumonia.data.audit import checks
from pneumonia.data.images import Images
from pneumonia.data.manifest import Manifest
from pneumonia.data.patients import UNKNOWN, unknown
from pneumonia.records.steps import Dataset
from pneumonia.reporting.report import DataUsed


def data_used(dataset: Dataset, manifest: Manifest, images: Images, phantom: bool, openings: int | None) -> DataUsed:
    """Return what the report says about the data.

    Args:
        dataset: of `prepare_data`.
        manifest: of the data.
        images: that the report's metrics are of.
        phantom: the images are synthetic.
        openings: of the release set so far; None where it was not opened.
    """
    return DataUsed(
        phantom=phantom,
        root=dataset.root,
        digest=dataset.digest,
        split_digest=dataset.split_digest,
        dvc_md5=dataset.dvc_md5,
        counts=dataset.counts,
        patients=_patients(manifest),
        unreadable=len(dataset.unreadable),
        unknown_patients=unknown(manifest.entries[row].patient_source for row in images.rows),
        duplicates=checks.identical_images(manifest.entries),
        copies=int(images.copies.sum()),
        openings=openings,
    )


def _patients(manifest: Manifest) -> dict[str, int]:
    """Count the known patients of each split."""
    pairs = {(entry.split, entry.patient) for entry in manifest.entries if entry.patient_source != UNKNOWN}
    return dict(sorted(Counter(split for split, _ in pairs).items()))
