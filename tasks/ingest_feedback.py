"""Step of the loop: make the next data version from kept images and labels that readers have settled."""

from __future__ import annotations

from pneumonia.config.schema import Config
from pneumonia.monitoring import ingestion
from pneumonia.progress import Progress, silent
from pneumonia.records.loop import Decision


def ingest_feedback(decision: Decision, progress: Progress = silent) -> Decision:
    """Bring settled labels with kept images into the training folder of the next data version; see `ingestion`.

    Args:
        decision: names the settings that the pipeline runs with, in this place; later feedback is not ingested.
        progress: called with the share that is done.

    Returns:
        The decision with settings that name the data version.

    Raises:
        ConfigError: phantoms without monitoring.data_root.
        DataError: the data set, or DVC, cannot be used.
        MonitoringError: the database is away.
    """
    settings = Config.model_validate(decision.settings)
    done = ingestion.ingest_feedback(settings, progress, until=decision.until)
    progress(1.0, 1.0, done.sentence())
    data = {**decision.settings["data"], "root": done.root}
    return decision.model_copy(update={"settings": {**decision.settings, "data": data}})
