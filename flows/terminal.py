"""What `python flows/pipeline.py` prints: which data first, a table last, one message where something is wrong."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import httpx
from prefect.exceptions import PrefectHTTPStatusError
from prefect.logging.configuration import setup_logging
from prefect.logging.handlers import PrefectConsoleHandler
from rich.console import Console
from rich.table import Table

from flows import prefect_server
from flows.supervisor import AGAIN, STOPPED
from pneumonia.boundary import explain, keep_tracebacks_in
from pneumonia.cli.prefect_health import refusal
from pneumonia.config.resolve import is_phantom
from pneumonia.config.schema import Config
from pneumonia.errors import ConfigError
from pneumonia.records.cross_validation import CrossValidation
from pneumonia.records.steps import Promotion, TrainedModel, Validation
from pneumonia.streams import explain_lost_output, lost_output
from pneumonia.tracking.client import check_store, tracking_uri
from tasks.prepare_data import check_requirements

SHOWN = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "accuracy": "accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}
ENDINGS = (
    "inished in state Failed",
    "Execution was aborted by an interrupt signal",
    "Execution was aborted by a termination signal",
)
SERVER_LOG = "prefect-server.log"  # of the temporary server
RUNS = ("prefect.flow_runs", "prefect.task_runs")  # the engine's loggers of runs


class _ToldAtTheEnd(logging.Filter):
    """Drops what the engine logs of an error that ends the flow, and with it the program, in one message."""

    def filter(self, record: logging.LogRecord) -> bool:
        fails = record.exc_info and record.name.startswith(RUNS)
        message = record.getMessage()
        return not (fails or any(words in message for words in ENDINGS))


def announce(config: Config) -> None:
    """Say which data are used, and see that both servers answer before anything is computed."""
    if config.data.folds:
        raise ConfigError(
            f"data.folds={config.data.folds}: folds are of a cross-validation: python flows/cross_validation.py "
            f"--folds {config.data.folds}"
        )
    kind = "phantoms (synthetic images)" if is_phantom(config.data.root) else f"radiographs in {config.data.root}"
    print(f"Data: {kind}; profile {config.profile}; model {config.registry.name}", flush=True)
    check_requirements(config)
    check_servers(config)


def check_servers(config: Config) -> None:
    """See that both servers answer."""
    keep_tracebacks_in(config.work)
    check_store(tracking_uri(config))
    prefect_server.check(Path(config.work).resolve() / "logs" / SERVER_LOG)


@contextmanager
def failures() -> Iterator[None]:
    """End with one message on standard error and the error's exit code; see `pneumonia.boundary`."""
    setup_logging()
    for handler in logging.getLogger().handlers:
        if isinstance(handler, PrefectConsoleHandler):  # the run's page keeps what is dropped here
            handler.addFilter(_ToldAtTheEnd())
    try:
        yield
        sys.stdout.flush()
    except KeyboardInterrupt:
        _leave(STOPPED, 130)
    except Exception as error:  # noqa: BLE001 - the boundary
        if lost := lost_output():
            _leave(*explain_lost_output(lost))
        if isinstance(error, httpx.TransportError):
            _leave(f"error: Prefect's server does not answer ({error}); {AGAIN}", 1)
        if isinstance(error, PrefectHTTPStatusError):
            _leave(f"error: {refusal(error.response.status_code)} (work folder: logs/{SERVER_LOG}); {AGAIN}", 1)
        _leave(*explain(error))


def _leave(message: str, code: int) -> NoReturn:
    if message:
        print(message, file=sys.stderr)
    sys.exit(code)


def summarise(config: Config, trained: TrainedModel, validation: Validation, promotion: Promotion) -> None:
    """Print the metrics, the verdict and where everything is."""
    coverage = f"{100 * config.evaluation.confidence:g} % interval"
    print(f"\n{config.registry.name} on the {validation.verdict.measured_on}. Not a medical device.")
    table = Table()
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column(coverage, justify="right")
    for name, words in SHOWN.items():
        metric = validation.verdict.metrics[name]
        table.add_row(words, f"{metric.value:.3f}", f"{metric.low:.3f} to {metric.high:.3f}")
    console = Console()
    console.print(table)
    outcome = f"champion, version {promotion.version}" if promotion.promoted else f"no promotion: {promotion.reason}"
    lines = {
        "verdict": "passed" if validation.verdict.passed else "not passed",
        "outcome": outcome,
        "report": validation.report,
        "weights": trained.weights,
        "run": trained.run_url or f"{trained.run_id} in {trained.tracking_uri}",
        "pages": "make ui   (MLflow on http://127.0.0.1:5000, Prefect on http://127.0.0.1:4200)",
    }
    for name, text in lines.items():
        print(f"{name:<8} {text}")


def summarise_cross_validation(config: Config, found: CrossValidation, report: Path) -> None:
    """Print mean, spread and interval of the metrics over the folds, and where everything is."""
    seeds = ", ".join(map(str, found.seeds))
    print(f"\n{found.folds} folds by patient, seeds {seeds}: patients that no training has seen. Not a medical device.")
    table = Table()
    table.add_column("metric")
    for title in ("mean", "standard deviation", f"{100 * config.evaluation.confidence:g} % interval of the mean"):
        table.add_column(title, justify="right")
    for name, words in SHOWN.items():
        each = found.metrics[name]
        table.add_row(words, f"{each.mean:.3f}", f"{each.sd:.3f}", f"{each.low:.3f} to {each.high:.3f}")
    Console().print(table)
    for name, text in {"report": report, "run": f"{found.run_id} in {tracking_uri(config)}"}.items():
        print(f"{name:<8} {text}")
