"""Take the last events of a model as arrays, and find the alarm level of a reference, which is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from pydantic import ValidationError

from pneumonia.config.service import MonitoringConfig
from pneumonia.files import write_text
from pneumonia.imaging.image_statistics import STATISTICS
from pneumonia.monitoring.detector import Detector
from pneumonia.monitoring.events import embedding_of, statistics_of
from pneumonia.monitoring.sample import FOREIGN, UNKNOWN, Sample
from pneumonia.monitoring.settings import DriftSettings
from pneumonia.records.drift import NullLaw

LAWS = "null_laws"


def sample_of(rows: Sequence[sa.RowMapping], labels: Mapping[str, int], size: int, threshold: float) -> Sample:
    """Return events as the detector takes them.

    Args:
        rows: of the table of events, oldest first.
        labels: 1 for PNEUMONIA, 0 for NORMAL, by event, where readers have settled one.
        size: of an embedding.
        threshold: of the model.
    """
    accepted = np.array([row["margin"] is not None for row in rows], np.bool_)
    return Sample(
        accepted=accepted,
        foreign=np.array([row["code"] in FOREIGN for row in rows], np.bool_),
        familiar=np.array([row["familiar"] for row in rows], np.bool_),
        margins=np.array([np.nan if row["margin"] is None else row["margin"] for row in rows], np.float64),
        embeddings=np.array([embedding_of(row, size) for row in rows], np.float32).reshape(len(rows), size),
        statistics=np.array([statistics_of(row, len(STATISTICS)) for row in rows], np.float32).reshape(
            len(rows), len(STATISTICS)
        ),
        labels=np.array([labels.get(row["event_id"], UNKNOWN) for row in rows], np.int8),
        patients=None,
        threshold=threshold,
    )


def settings_of(config: MonitoringConfig) -> DriftSettings:
    """Return what the detector is made of: the budget, and those of its window sizes that the window holds."""
    usual = DriftSettings()
    sizes = tuple(size for size in usual.sizes if size <= config.window)
    return DriftSettings(budget=config.false_alarms, sizes=sizes)


def open_detector(reference: Sample, settings: DriftSettings, folder: Path) -> Detector:
    """Return the detector of a reference; the law of its statistics by chance is kept in a folder, for the next time.

    Raises:
        ValueError: the reference is too small.
    """
    key = hashlib.sha256(f"{reference.digest()} {settings.digest()}".encode()).hexdigest()
    path = folder / LAWS / f"{key[:32]}.json"
    detector = Detector(reference, settings, _read(path))
    if not path.exists():
        write_text(path, detector.law.model_dump_json())
    return detector


def _read(path: Path) -> NullLaw | None:
    try:
        return NullLaw.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError):  # found again
        path.unlink(missing_ok=True)
        return None


def verdict_key(model_digest: str, rows: Sequence[sa.RowMapping], labels: Mapping[str, int], settings: str) -> str:
    """Name a look at drift by all that it depends on: the model, the events, their labels and the settings."""
    seen = [model_digest, rows[-1]["event_id"], len(rows), sorted(labels.items()), settings]
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()
