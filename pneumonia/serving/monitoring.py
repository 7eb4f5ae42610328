"""Record the service's answers, take readers' words, and show what monitoring has found."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from pathlib import Path
from typing import Protocol

import numpy as np

from pneumonia.config.schema import Config
from pneumonia.config.service import MonitoringConfig
from pneumonia.data.patient_key import Pseudonyms
from pneumonia.errors import PneumoniaError
from pneumonia.imaging.dicom_words import storable
from pneumonia.imaging.image_statistics import describe_images, measure
from pneumonia.imaging.radiograph import is_dicom
from pneumonia.inference.served_model import Answer, ServedModel
from pneumonia.monitoring import feedback, loops, verdicts
from pneumonia.monitoring.database import Database, monitoring_folder
from pneumonia.monitoring.events import Event
from pneumonia.monitoring.kept_images import keep
from pneumonia.monitoring.recorder import Recorder
from pneumonia.serving.follower import Serving
from pneumonia.serving.monitoring_metrics import MonitoringMetrics

WATCH_SECONDS = 30.0
"""Time between two looks at the database for what is shown."""
_STOP_SECONDS = 5.0

logger = logging.getLogger(__name__)


class Source(Protocol):
    """Where the model that answers comes from: `pneumonia.serving.follower.Follower`."""

    current: Serving | None


class Monitoring:
    """What a service records, and what it shows of it.

    Attributes:
        database: of events, feedback, verdicts and loops.
        metrics: that show it.
        pseudonyms: of readers, patients and studies.
        source: of the model that answers; set by the service.
    """

    def __init__(self, config: Config, metrics: MonitoringMetrics) -> None:
        """Prepare to record; nothing is opened before `start`.

        Raises:
            MonitoringError: the database's address cannot be used.
        """
        self.database = Database.of(config)
        self.metrics = metrics
        self.pseudonyms = Pseudonyms(Path(config.work).resolve())
        self._config: MonitoringConfig = config.monitoring
        self._folder = monitoring_folder(config)
        self._recorder = Recorder(config.monitoring, self._folder, self.database, metrics)
        self._keeping = True
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)
        self.source: Source | None = None
        metrics.spooled.set_function(lambda: self._recorder.waiting)

    def start(self) -> None:
        """Begin to store and to show."""
        self._recorder.start()
        self._thread.start()

    def stop(self) -> None:
        """Store what waits, and end."""
        self._stopped.set()
        self._recorder.stop()
        if self._thread.ident is not None:
            self._thread.join(_STOP_SECONDS)
        self.database.close()

    def record(self, model: ServedModel, answer: Answer, content: bytes, request_id: str, position: int) -> str | None:
        """Record an answer; return the event's id, None where this image is not sampled. Never fails."""
        if not self._config.record or not self._recorder.wants():
            return None
        try:
            event = self._event(model, answer, content, request_id, position)
        except Exception:  # whatever it is, the answer goes out
            logger.exception("an event could not be made")
            self.metrics.lost("failed")
            return None
        self._recorder.record(event)
        return event.event_id

    def _event(self, model: ServedModel, answer: Answer, content: bytes, request_id: str, position: int) -> Event:
        outputs, found = answer.outputs, answer.assessment
        refused = answer.refused or outputs is None
        patient, study = self._identifiers(content)
        return Event(
            event_id=uuid.uuid4().hex,
            at=time.time(),
            request_id=request_id,
            position=position,
            name=model.name,
            version=model.version,
            model_digest=model.export.model_digest,
            precision=model.precision,
            threshold=model.record.threshold,
            code=found.code,
            familiar=found.familiar,
            percentile=found.percentile,
            probability=None if refused or outputs is None else outputs.probability,
            margin=None if refused or outputs is None else outputs.margin,
            decision=model.decision(answer),
            checks=storable(found.findings),
            statistics=_statistics(answer),
            embedding=None if outputs is None else outputs.embedding.astype(np.float16).tobytes(),
            study=study,
            patient=patient,
            image=None if refused else self._keep(content),
        )

    def _identifiers(self, content: bytes) -> tuple[str | None, str | None]:
        """Return the keyed hashes of a DICOM file's patient and study."""
        if not is_dicom(content):
            return None, None
        from pneumonia.imaging.dicom import read_identifiers  # half a second that JPEG does not need

        found = read_identifiers(content)
        return tuple(self.pseudonyms.of(each) if each else None for each in found)  # type: ignore[return-value]

    def _keep(self, content: bytes) -> str | None:
        if not self._config.keep_images:
            return None
        try:
            kept = keep(self._folder, content)
        except (OSError, PneumoniaError) as error:
            if self._keeping:
                logger.warning("images cannot be kept: %s", error)
            self._keeping = False
            return None
        self._keeping = True
        return kept

    @property
    def recording(self) -> bool:
        """Whether answers are recorded."""
        return self._config.record

    @property
    def waiting(self) -> int:
        """Events that are not in the database yet."""
        return self._recorder.waiting

    def flush(self) -> None:
        """Bring what waits into the database now."""
        self._recorder.flush()

    def reader_of(self, name: str) -> str:
        """Return the pseudonym of a reader, of a name or of an API key's digest."""
        return feedback.reader_pseudonym(self.pseudonyms, name)

    def _watch(self) -> None:
        self.look()
        while not self._stopped.wait(WATCH_SECONDS):
            self.look()

    def look(self) -> None:
        """Bring the metrics up to the database; where it is away they stay as they are."""
        current = None if self.source is None else self.source.current
        if current is None:
            return
        name, version = current.model.name, current.model.version
        try:
            self.metrics.show_feedback(
                feedback.count_verdicts(self.database), feedback.count_states(self.database, name)
            )
            for verdict in verdicts.last_verdicts(self.database, name):
                self.metrics.show_verdict(verdict, verdicts.last_look(self.database, name) or 0.0, version)
            last = next(iter(loops.last_loops(self.database, name)), None)
            self.metrics.show_loops(loops.count_loops(self.database, name), last)
        except PneumoniaError as error:
            logger.debug("monitoring cannot be shown: %s", error)


def _statistics(answer: Answer) -> bytes | None:
    """Return the 30 statistics of an image; None where it cannot be read."""
    image = answer.image
    if image is None:
        return None
    size, width, height = (np.array([float(value)]) for value in (answer.size, image.width, image.height))
    return describe_images([image.encoding], size, width, height, measure(image.levels)[None]).tobytes()
