"""Send the epochs of a run to MLflow: none is lost while the server is unavailable, none is logged twice."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pneumonia.errors import TrackingError
from pneumonia.tracking.client import translated_errors, with_retries

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

logger = logging.getLogger(__name__)


class EpochBuffer:
    """The epochs that were logged to a run, and those that still have to be."""

    def __init__(self, client: MlflowClient, uri: str, run_id: str) -> None:
        self._client, self._uri, self._run = client, uri, run_id
        self._pending: dict[int, list[Metric]] = {}
        self._sent: set[int] = set()
        self._asked = False  # whether `_sent` holds what the server has; after a failure it may have more

    def add(self, epochs: Sequence[Mapping[str, Any]]) -> bool:
        """Send the epochs that the run lacks, and those buffered by earlier calls.

        Args:
            epochs: metrics with their ``epoch`` (from 1), which becomes MLflow's step; None values are left out.

        Returns:
            Whether the buffer is empty afterwards. A failure is logged as a warning, never raised.
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        for epoch in epochs:
            step = int(epoch["epoch"])
            if step in self._pending or step in self._sent:
                continue
            # The timestamp is set here, not when sending: MLflow's store drops an identical metric, so that an epoch
            # that is sent again after a lost response is stored once.
            self._pending[step] = [
                Metric(key, float(value), now, step) for key, value in epoch.items() if value is not None
            ]
        return self.send()

    def send(self) -> bool:
        """Send what is kept; whether nothing is left."""
        try:
            with translated_errors(self._uri, "log the epochs"):
                self._send()
        except TrackingError as error:
            logger.warning("%s; %d epoch(s) are buffered and sent later", error, len(self._pending))
            return False
        return True

    def _send(self) -> None:
        if not self._pending:
            return
        asked, self._asked = self._asked, False  # until all is sent: a lost answer leaves open what the server has
        if not asked:
            self._sent |= {metric.step for metric in self._client.get_metric_history(self._run, "epoch")}
        for step in sorted(self._pending):
            if step not in self._sent:
                # one request per epoch, which the server stores atomically
                self._client.log_batch(self._run, metrics=self._pending[step], synchronous=True)
                self._sent.add(step)
            del self._pending[step]
        self._asked = True

    def flush(self, timeout: float) -> None:
        """Send the buffered epochs, with retries for `timeout` seconds.

        Raises:
            TrackingError: some epochs could not be sent.
        """
        try:
            with_retries(self._uri, "log the epochs", self._send, patience=timeout)
        except TrackingError as error:
            left = f"{len(self._pending)} epoch(s) of run {self._run} are not logged"
            raise TrackingError(f"{error}. {left}", permanent=error.permanent) from error.__cause__
