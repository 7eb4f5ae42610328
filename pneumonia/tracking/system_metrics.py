"""Sample CPU, memory, disk and network use with MLflow's own monitor while a run is open."""

from __future__ import annotations

from pneumonia.tracking.client import address, translated_errors

SAMPLING_SECONDS = 5.0  # with MLflow's 10 s a short training would have no sample


class SystemMetrics:
    """MLflow's sampler, which continues after the run's last sample and is restarted when its thread has ended."""

    def __init__(self, uri: str, run_id: str) -> None:
        self._uri, self._run = uri, run_id
        self._start()

    def _start(self) -> None:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        with translated_errors(self._uri, "sample the system's use"):
            self._sampler = SystemMetricsMonitor(  # type: ignore[no-untyped-call]
                self._run, sampling_interval=SAMPLING_SECONDS, resume_logging=True, tracking_uri=address(self._uri)
            )
            self._sampler.start()  # type: ignore[no-untyped-call]

    def revive(self) -> None:
        """Restart the sampler where its thread has ended: MLflow's ends at the first request that fails."""
        thread = self._sampler._process
        if thread is None or not thread.is_alive():
            self._start()

    def finish(self) -> None:
        """Stop the sampler and send the remaining samples."""
        self._sampler.finish()  # type: ignore[no-untyped-call]
