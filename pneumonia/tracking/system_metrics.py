"""CPU, memory, disk and network use, sampled by MLflow's own monitor for as long as a run is open."""

from __future__ import annotations

from pneumonia.tracking.client import translated_errors

SAMPLING_SECONDS = 5.0  # MLflow's 10 s would leave a short training without a single sample


class SystemMetrics:
    """MLflow's sampler, begun after the last sample that the run has, and begun again when it has given up."""

    def __init__(self, uri: str, run_id: str) -> None:
        self._uri, self._run = uri, run_id
        self._start()

    def _start(self) -> None:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        with translated_errors(self._uri, "sample the system's use"):
            self._sampler = SystemMetricsMonitor(  # type: ignore[no-untyped-call]
                self._run, sampling_interval=SAMPLING_SECONDS, resume_logging=True, tracking_uri=self._uri
            )
            self._sampler.start()  # type: ignore[no-untyped-call]

    def revive(self) -> None:
        """Sample again: MLflow's thread ends at the first request that fails."""
        thread = self._sampler._process
        if thread is None or not thread.is_alive():
            self._start()

    def finish(self) -> None:
        """Stop and send what was sampled."""
        self._sampler.finish()  # type: ignore[no-untyped-call]
