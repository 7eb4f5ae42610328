"""The epochs of a run, sent to MLflow: none lost while the server is away, none sent twice."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pneumonia.errors import TrackingError
from pneumonia.tracking.client import is_transient, translated_errors

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

logger = logging.getLogger(__name__)


class EpochBuffer:
    """What a run has of its epochs, and what it still lacks."""

    def __init__(self, client: MlflowClient, uri: str, run_id: str) -> None:
        self._client, self._uri, self._run = client, uri, run_id
        self._pending: dict[int, list[Metric]] = {}
        self._sent: set[int] = set()
        self._asked = False  # whether `_sent` holds what the server has; after a failure it may have more
        self._trouble: TrackingError | None = None

    def add(self, epochs: Sequence[Mapping[str, Any]]) -> bool:
        """Send the epochs that the run lacks, and those kept from earlier calls.

        Args:
            epochs: metrics with their ``epoch`` (from 1), which becomes MLflow's step; None values are left out.

        Returns:
            Whether nothing is left to send. A failure is logged as a warning, never raised.
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        for epoch in epochs:
            step = int(epoch["epoch"])
            if step in self._pending or step in self._sent:
                continue
            # The time is fixed here, not when it is sent: MLflow's store drops an identical metric, so an epoch that
            # is sent again because the answer was lost is still there once.
            self._pending[step] = [
                Metric(key, float(value), now, step) for key, value in epoch.items() if value is not None
            ]
        return self.send()

    def send(self) -> bool:
        """Send what is kept; whether nothing is left."""
        if not self._pending:
            return True
        try:
            with translated_errors(self._uri, "log the epochs"):
                self._send()
        except TrackingError as error:
            self._asked, self._trouble = False, error
            logger.warning("%s; %d epoch(s) are kept and sent later", error, len(self._pending))
            return False
        return True

    def _send(self) -> None:
        if not self._asked:
            self._sent |= {metric.step for metric in self._client.get_metric_history(self._run, "epoch")}
            self._asked = True
        for step in sorted(self._pending):
            if step not in self._sent:
                # one request an epoch, which the server takes as a whole or not at all
                self._client.log_batch(self._run, metrics=self._pending[step], synchronous=True)
                self._sent.add(step)
            del self._pending[step]

    def flush(self, timeout: float) -> None:
        """Send what is kept, trying for `timeout` seconds.

        Raises:
            TrackingError: some epochs could not be sent.
        """
        end, pause = time.monotonic() + timeout, 0.5
        while not self.send():
            trouble = self._trouble or TrackingError(self._uri)
            if not is_transient(trouble.__cause__) or time.monotonic() + pause > end:
                raise TrackingError(f"{trouble}. {len(self._pending)} epoch(s) of run {self._run} are not logged")
            time.sleep(pause)
            pause = min(2 * pause, 10.0)
