"""Find a new operating point of the champion from readers' labels; the network stays, and the gate decides."""

from __future__ import annotations

import logging
from typing import Any

from pneumonia.config.schema import Config
from pneumonia.errors import DataError
from pneumonia.modelling.recalibration import recalibrated
from pneumonia.monitoring import feedback
from pneumonia.monitoring.database import Database
from pneumonia.progress import Progress, silent
from pneumonia.records.export import read_model_record
from pneumonia.records.loop import Decision
from pneumonia.registry.reader import open_reader

log = logging.getLogger(__name__)


def recalibrate_model(decision: Decision, config: Config, progress: Progress = silent) -> Decision:
    """Return the decision with settings whose operating point follows from feedback; the pipeline does the rest.

    Raises:
        DataError: the champion is another one by now, or too few labels are there.
        MonitoringError: the database is away.
    """
    reader = open_reader(config)
    champion = reader.champion()
    if champion is None or champion.version != decision.version:
        raise DataError(
            f"version {decision.version} of {decision.name} is not champion any more; nothing is recalibrated"
        )
    record = read_model_record(reader.folder(champion))
    database = Database.of(config)
    try:
        margins, labels, patients = feedback.calibration_pairs(database, champion.model_digest, until=decision.until)
    finally:
        database.close()
    point = recalibrated(record, margins, labels, patients, config.operating_point.target_sensitivity)
    log.info("operating point from %d labels: %s", len(labels), point)
    progress(1.0, 1.0, f"a new operating point from {len(labels)} labels: threshold {point['threshold']:.4f}")
    settings: dict[str, Any] = {**decision.settings}
    settings["operating_point"] = {**settings["operating_point"], **point, "calibrate": False}
    return decision.model_copy(update={"settings": settings})
