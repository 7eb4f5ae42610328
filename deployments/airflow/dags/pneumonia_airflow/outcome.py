"""Handle the outcome of a step: retries and log lines of a failure, the asset of a promotion."""

from __future__ import annotations

import logging
import re
import signal
from typing import Any

from airflow.sdk import Asset, AssetAlias, BaseOperatorLink, RetryDecision, RetryPolicy

CHAMPION = AssetAlias("pneumonia_champion")
"""Alias of the asset ``<registered name>@champion``, which is updated when a promotion has moved the champion."""

TRY_AGAIN = 75  # exit status of a step that may be retried; see child.py
ASKED_TO_STOP = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
log = logging.getLogger("pneumonia")


class WhereItHelps(RetryPolicy):
    """Retry what the step calls worth it, and a process that was killed; nothing else, and no stop that was asked for.

    What is worth it is decided in the step's process, by `pneumonia.errors.worth_retrying`.
    """

    def evaluate(self, exception: BaseException, *_: Any, **__: Any) -> RetryDecision:
        status = exit_status(exception)
        if status is None or status == TRY_AGAIN or (status < 0 and -status not in ASKED_TO_STOP):
            return RetryDecision.default()
        return RetryDecision.fail(reason="a retry would fail in the same way")

    def serialize(self) -> dict[str, Any]:
        return {"__type": type(self).__name__}


def exit_status(exception: BaseException) -> int | None:
    """Return the exit status of the step's process, negative for a signal; None where Airflow itself failed."""
    code = getattr(exception, "returncode", None)
    if code is None and (found := re.match(r"Process returned non-zero exit status (-?\d+)", str(exception))):
        code = int(found[1])
    return code


def log_retry(context: Any) -> None:
    """Log the error of a try that is followed by another, in one line."""
    log_failure(context, ", and will be tried again")


def log_failure(context: Any, then: str = "") -> None:
    """Log the error of a failed task, in one line."""
    task, error = context["ti"], context.get("exception")
    words = "; ".join(line.strip() for line in str(error).splitlines()[-20:] if line.strip())
    words = re.sub(r"^Process returned non-zero exit status \d+\.; ", "", words).replace(":; ", ": ")
    if (exit_status(error) or 0) < 0:
        words = f"its process was ended by signal {-exit_status(error)} (9: often too little memory)"
    log.error("%s stopped%s: %s", task.task_id, then, words)


def announce_champion(context: Any, result: dict[str, Any]) -> None:
    """Update the champion's asset, if the promotion has moved the champion."""
    if not result["promoted"]:
        log.info("no promotion: %s", result["reason"])
        return
    name, version = result["name"], result["version"]
    asset = Asset(name=f"{name}@champion", uri=f"mlflow://models/{name}/champion")
    extra = {"version": version, "previous": result["previous"], "reason": result["reason"]}
    context["outlet_events"][CHAMPION].add(asset, extra=extra)
    log.info("champion of %s: version %s", name, version)


class MlflowRun(BaseOperatorLink):
    """A link on the task's page that opens the run in MLflow."""

    @property
    def name(self) -> str:
        return "MLflow run"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - Airflow's signature
        # called in the task's process at its end, with the task instance itself
        return ti_key.xcom_pull(task_ids="train_model", key="url") or ""
