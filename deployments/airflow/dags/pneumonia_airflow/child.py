"""Run a step in a process of the library's own Python: its settings, its progress as log lines, its exit status.

Imported in that process only: Airflow's environment has neither the library nor torch.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from pneumonia.boundary import explain, keep_tracebacks_in
from pneumonia.config.sources import from_form
from pneumonia.environment import prepare
from pneumonia.errors import PneumoniaError, TrainingInterrupted, worth_retrying
from pneumonia.progress import Progress

# sysexits.h: Airflow receives only the exit status, and decides by it whether to retry
TRY_AGAIN, REFUSED, BROKEN, INTERRUPTED = 75, 65, 70, 130
LINE_SECONDS = 5.0
OWN = ("approval", "fresh", "trace")  # fields of the form that are no settings
OWN_OF_FOLDS = ("profile", "folds", "seeds", "engine", "address")  # those of a cross-validation
OWN_OF_ARCHIVES = ("profile", "source", "out", "model", "engine", "address")  # those of the scoring of an archive
PR_SET_PDEATHSIG = 1  # <sys/prctl.h>

log = logging.getLogger(__name__)


@contextmanager
def step(name: str) -> Iterator[Progress]:
    """Yield the step's progress callback; an error ends the process with one line and an exit status by its kind."""
    end_with_parent()
    prepare()
    # Airflow's script has no `if __name__ == "__main__"`: a worker process that imports it would run the step again
    vars(sys.modules["__main__"]).pop("__file__", None)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    for noisy in ("alembic", "mlflow", "urllib3", "matplotlib"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    keep_tracebacks_in(os.environ.get("PNEUMONIA_WORK", ".pneumonia"))
    sys.excepthook = report_and_exit
    yield _lines(name)


def end_with_parent() -> None:
    """Have the kernel send SIGTERM when the task's process ends, so that no training outlives its task."""
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before the call
        os.kill(os.getpid(), signal.SIGTERM)


def assignments(params: str, conf: str, own: Sequence[str] = OWN) -> list[str]:
    """Convert a run's values to assignments ``key=value``; empty fields are left out.

    Args:
        params: the form's values, JSON: the run's configuration laid over the form. Airflow keeps unknown names in it.
        conf: the run's configuration as it was sent, JSON: what is nested is in here only.
        own: the form's fields that are no settings.

    Raises:
        ConfigError: a name that is neither a field of the form nor a setting.
    """
    fields = json.loads(Path(__file__).with_name("form.json").read_text(encoding="utf-8"))
    known = {*own, *(field["name"] for field in fields)}
    sent = from_form(json.loads(conf) or {}, known)
    values = {key: value for key, value in json.loads(params).items() if key in known and value is not None} | sent
    return [
        f"{key}={json.dumps(value) if isinstance(value, bool) else value}"
        for key, value in values.items()
        if key not in own
    ]


def pipeline_run(decision: dict[str, Any]) -> dict[str, Any]:
    """Return the pipeline's DAG and the configuration of its run, for a loop's decision: the settings of the form."""
    fields = json.loads(Path(__file__).with_name("form.json").read_text(encoding="utf-8"))
    settings = {}
    for section, key in (field["name"].split(".", 1) for field in fields):
        if section != "tracking":  # of this place
            settings[f"{section}.{key}"] = decision["settings"][section][key]
    conf = settings | {"trace": decision["trace_id"], "approval": decision["approval"]}
    return {"dag_id": f"pneumonia_pipeline_{decision['profile']}", "conf": conf}


def public(url: str | None) -> str | None:
    """Return an MLflow address for a browser outside the containers, with MLFLOW_PUBLIC_URL where that is set."""
    inside, outside = os.environ.get("MLFLOW_TRACKING_URI", ""), os.environ.get("MLFLOW_PUBLIC_URL", "")
    return outside.rstrip("/") + url.removeprefix(inside.rstrip("/")) if url and inside and outside else url


def status(error: BaseException) -> int:
    """Return the exit status of an error; whether a retry can help is decided by the library's one list."""
    if worth_retrying(error):
        return TRY_AGAIN
    if isinstance(error, TrainingInterrupted):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return REFUSED if isinstance(error, PneumoniaError) else BROKEN


def report_and_exit(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    """Print the error in one message and exit with its status; the traceback of a surprise goes into a file."""
    print("stopped" if isinstance(error, KeyboardInterrupt) else explain(error)[0], flush=True)
    raise SystemExit(status(error))


def _lines(name: str) -> Progress:
    shown = {"time": 0.0, "message": ""}

    def progress(done: float, total: float, message: str = "") -> None:
        now = time.monotonic()
        if now - float(shown["time"]) > LINE_SECONDS or message != shown["message"]:
            shown.update(time=now, message=message)
            print(f"{name} {100 * done / total:3.0f} % {message}", flush=True)

    return progress
