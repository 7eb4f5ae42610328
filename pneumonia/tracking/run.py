"""Manage a training's run in MLflow: one owner, reopened after a kill, complete although the server was unavailable."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumonia.config.schema import Config
from pneumonia.errors import TrackingError
from pneumonia.records.evaluation import Metric
from pneumonia.timing import timed
from pneumonia.tracking import inputs
from pneumonia.tracking.client import (
    PATIENCE,
    address,
    check_store,
    mlflow_client,
    tracking_uri,
    translated_errors,
    with_retries,
)
from pneumonia.tracking.epoch_buffer import EpochBuffer
from pneumonia.tracking.experiments import is_registered, open_experiment, open_run
from pneumonia.tracking.ownership import Ownership
from pneumonia.tracking.run_tags import VALIDATIONS_TAG, read_tag
from pneumonia.tracking.system_metrics import SystemMetrics

if TYPE_CHECKING:
    import numpy as np
    from mlflow.entities import Run as MlflowRun
    from mlflow.tracking import MlflowClient
    from torch import nn


DATA_TAG = "pneumonia.data_digest"
"""Tag with the data version."""

logger = logging.getLogger(__name__)


class Run:
    """One MLflow run.

    Attributes:
        id: MLflow's run id.
        uri: tracking URI, or the reference env:NAME to it.
        url: address of the run's page; None where no server serves one.
        reopened: the run had been begun before, by a training that did not finish.
    """

    def __init__(self, client: MlflowClient, uri: str, run: MlflowRun, *, reopened: bool) -> None:
        self._client = client
        self._experiment: str = run.info.experiment_id
        self.id: str = run.info.run_id
        self._epochs = EpochBuffer(client, uri, self.id)
        self._monitor: SystemMetrics | None = None
        self._ownership = Ownership(client, uri, self.id)
        self.uri = uri
        self.url = run_page(uri, self._experiment, self.id)
        self.reopened = reopened

    @classmethod
    @timed("MLflow")
    def open(cls, config: Config, key: str, name: str, tags: Mapping[str, str]) -> Run:
        """Reopen the unfinished run with this key, or begin one; a run that a registered version refers to stays.

        Args:
            config: names the store and the experiment.
            key: names the training, in hex: the same for one that is started again after it was killed.
            name: the run's name, for people.
            tags: further tags.

        Raises:
            TrackingError: the store cannot be used, or another process that is alive writes this run.
        """
        uri = tracking_uri(config)
        check_store(uri)
        client = mlflow_client(uri)
        experiment = with_retries(uri, "open the experiment", lambda: open_experiment(client, config))
        begun, found = with_retries(uri, "begin a run", lambda: open_run(client, experiment, key, name, tags))
        run = cls(client, uri, begun, reopened=found)
        run._ownership.claim(tags)
        try:
            if found:
                with_retries(uri, "reopen the run", lambda: run._reopen(tags))
            if config.tracking.system_metrics:
                run._monitor = SystemMetrics(uri, run.id)
        except BaseException:
            run.release()
            raise
        return run

    @classmethod
    @timed("MLflow")
    def attach(cls, uri: str, run_id: str) -> Run:
        """Add to a run that another step has finished, until `release`; its status stays as it is.

        Raises:
            TrackingError: there is no such run, another process writes it, or the store cannot be used.
        """
        check_store(uri)
        client = mlflow_client(uri)
        run = cls(client, uri, with_retries(uri, f"find run {run_id}", lambda: client.get_run(run_id)), reopened=True)
        run._ownership.claim({})
        return run

    def release(self) -> None:
        """Let go of a run without a change of its status."""
        self._ownership.release()

    def is_registered(self) -> bool:
        """Return whether a registered version refers to this run, so that its artifacts may not change.

        Raises:
            TrackingError: not possible within `pneumonia.tracking.client.PATIENCE`.
        """
        return with_retries(self.uri, "look for registered versions", lambda: is_registered(self._client, self.id))

    def tag(self, name: str) -> str | None:
        """Return a tag of the run; None where it has none of this name.

        Raises:
            TrackingError: not possible within `pneumonia.tracking.client.PATIENCE`.
        """
        return read_tag(self.uri, self.id, name)

    def count_validation(self) -> int:
        """Count one more validation of this run's model, and return how many there were, this one included."""
        tags = with_retries(self.uri, "count the validations", lambda: self._client.get_run(self.id).data.tags)
        number = int(tags.get(VALIDATIONS_TAG, 0)) + 1
        self.set_tags({VALIDATIONS_TAG: str(number)})
        return number

    def _reopen(self, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        self._client.update_run(self.id, status="RUNNING")
        self._client.log_batch(self.id, tags=[RunTag(key, value) for key, value in tags.items()])

    def log_parameters(self, tree: Mapping[str, object]) -> None:
        """Log a nested tree as ``a.b.c`` parameters, except those that the run has already (MLflow cannot change one).

        Raises:
            TrackingError: not possible within `pneumonia.tracking.client.PATIENCE`.
        """
        with_retries(self.uri, "log the parameters", lambda: inputs.log_parameters(self._client, self.id, tree))

    def log_dataset(self, name: str, digest: str, source: str, counts: Mapping[str, object]) -> None:
        """Log the dataset that the run used; repeated calls log it once.

        Args:
            name: of the data set.
            digest: sha256 in hex; MLflow stores its first 36 characters.
            source: where the data came from.
            counts: numbers (images, patients), stored as the data set's profile.

        Raises:
            TrackingError: not possible within `pneumonia.tracking.client.PATIENCE`.
        """
        with_retries(
            self.uri,
            "log the dataset",
            lambda: inputs.log_dataset(self._client, self.id, name, digest[:36], source, counts),
        )

    def log_epochs(self, epochs: Sequence[Mapping[str, Any]]) -> bool:
        """Log the epochs that the run lacks, each with its ``epoch`` from 1; see `EpochBuffer.add`.

        Raises no connection error: a training continues while the server is unavailable. What could not be sent is
        buffered, and sent by the next call or by `flush`.

        Returns:
            Whether the run now has every epoch that was ever given.

        Raises:
            TrackingError: another process has taken the run over.
        """
        self._ownership.check()
        complete = self._epochs.add(epochs)
        if complete and self._monitor is not None:
            self._monitor.revive()
        return complete

    def flush(self, timeout: float) -> None:
        """Send the epochs that are still buffered, with retries for `timeout` seconds.

        Raises:
            TrackingError: some could not be sent.
        """
        self._epochs.flush(timeout)

    def log_intervals(self, metrics: Mapping[str, Metric], prefix: str = "test_") -> None:
        """Log each value and interval as the metrics ``<prefix><name>``, ``…_low`` and ``…_high``.

        A value that the run has already is not logged again.

        Raises:
            TrackingError: not possible within `pneumonia.tracking.client.PATIENCE`.
        """
        values: dict[str, float] = {}
        for name, metric in metrics.items():
            values |= {
                f"{prefix}{name}": metric.value,
                f"{prefix}{name}_low": metric.low,
                f"{prefix}{name}_high": metric.high,
            }
        self.log_metrics(values)

    def log_metrics(self, values: Mapping[str, float]) -> None:
        """Log single values; a value that the run has already is not logged again.

        Raises:
            TrackingError: not possible within `pneumonia.tracking.client.PATIENCE`.
        """
        with_retries(self.uri, "log the metrics", lambda: self._log_metrics(values, int(time.time() * 1000)))

    def _log_metrics(self, values: Mapping[str, float], now: int) -> None:
        from mlflow.entities import Metric

        present = self._client.get_run(self.id).data.metrics
        new = [Metric(key, float(value), now, 0) for key, value in values.items() if present.get(key) != value]
        if new:
            self._client.log_batch(self.id, metrics=new)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set or replace tags.

        Raises:
            TrackingError: not possible within `pneumonia.tracking.client.PATIENCE`.
        """
        from mlflow.entities import RunTag

        labels = [RunTag(key, value) for key, value in tags.items()]
        with_retries(self.uri, "set tags", lambda: self._client.log_batch(self.id, tags=labels))

    def log_folder(self, folder: Path, artifact_path: str | None = None) -> None:
        """Upload a folder's files to the run, under `artifact_path`; files of the same name are replaced.

        Raises:
            TrackingError: not possible within `pneumonia.tracking.client.PATIENCE`.
        """
        with_retries(
            self.uri,
            f"keep {folder}",
            lambda: self._client.log_artifacts(self.id, str(folder), artifact_path),
        )

    def log_file(self, file: Path, artifact_path: str | None = None) -> None:
        """Upload a file to the run, into the folder `artifact_path`; a file of the same name is replaced.

        Raises:
            TrackingError: not possible within `pneumonia.tracking.client.PATIENCE`.
        """
        with_retries(self.uri, f"keep {file}", lambda: self._client.log_artifact(self.id, str(file), artifact_path))

    @timed("MLflow model")
    def log_model(self, model: nn.Module, example: np.ndarray, record: Mapping[str, object]) -> str:
        """Log the network as an MLflow model in the pt2 format, which holds no pickle; once per run.

        Args:
            model: any device and memory format; not changed.
            example: input, float32 [B, H, W] in 0..1.
            record: stored as the model's metadata.

        Returns:
            The model's URI, ``models:/m-…``.

        Raises:
            TrackingError: not possible within `pneumonia.tracking.client.PATIENCE`.
        """
        from pneumonia.tracking.mlflow_model import log_network

        return log_network(self._client, self.uri, self.id, self._experiment, model, example, dict(record))

    def finish(self, status: str = "FINISHED") -> None:
        """Close the run.

        Args:
            status: FINISHED sends everything first; FAILED and KILLED try once and only warn, so that they never hide
                the original error.

        Raises:
            TrackingError: FINISHED, and the run cannot be completed within `pneumonia.tracking.client.PATIENCE`, or
                another process has taken it over.
        """
        try:
            if self._monitor is not None:
                self._monitor.finish()
                self._monitor = None
            self._close(status)
        finally:
            self._ownership.release()

    def _close(self, status: str) -> None:
        if status == "FINISHED":
            self._ownership.check()
            self.flush(PATIENCE)
            with_retries(self.uri, "close the run", lambda: self._client.set_terminated(self.id, status))
            return
        try:
            self._ownership.check()
            self._epochs.send()
            with translated_errors(self.uri, "close the run"):
                self._client.set_terminated(self.id, status)
        except TrackingError as error:
            logger.warning("%s; run %s stays open and is reopened by the next start", error, self.id)


def close_complete_run(uri: str, run_id: str) -> None:
    """Close a run that has everything and whose process was killed before it could close it.

    Raises:
        TrackingError: the store cannot be used.
    """
    client = mlflow_client(uri)
    found = with_retries(uri, f"find run {run_id}", lambda: client.get_run(run_id))
    if found.info.status != "FINISHED":
        run = Run.attach(uri, run_id)
        run.finish()


def run_page(uri: str, experiment: str, run: str) -> str | None:
    """Return the address of a run's page, without a login."""
    place = address(uri)
    if not place.startswith(("http://", "https://")):
        return None
    return f"{place.rstrip('/')}/#/experiments/{experiment}/runs/{run}"
