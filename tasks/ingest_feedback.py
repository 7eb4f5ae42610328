"""Step of the monitoring loop: make the next data version from kept images and labels that readers have settled."""

from __future__ import annotations

from pneumonia.config.schema import Config
from pneumonia.monitoring import ingestion
from pneumonia.progress import Progress, silent
from pneumonia.records.feedback import Ingested


def ingest_feedback(config: Config, progress: Progress = silent) -> Ingested:
    """Bring settled labels with kept images into the training folder of the next data version; see `ingestion`.

    Raises:
        ConfigError: phantoms without monitoring.data_root.
        DataError: the data set, or DVC, cannot be used.
        MonitoringError: the database is away.
    """
    return ingestion.ingest_feedback(config, progress)
