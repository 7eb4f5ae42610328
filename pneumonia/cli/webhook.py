"""The command ``webhook``: Alertmanager's notifications start the monitor."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from pneumonia.errors import ConfigError

if TYPE_CHECKING:
    from pneumonia.serving.orchestrators import Orchestrator


def webhook(
    airflow: Annotated[
        str | None,
        typer.Option(
            "--airflow", metavar="URL", help="Airflow's API server; login in AIRFLOW_USER and AIRFLOW_PASSWORD"
        ),
    ] = None,
    prefect: Annotated[
        str | None,
        typer.Option("--prefect", metavar="URL", help="Prefect's API; login, if any, in PREFECT_API_AUTH_STRING"),
    ] = None,
    dag: Annotated[str, typer.Option(metavar="ID", help="Airflow's DAG to start")] = "pneumonia_monitor",
    deployment: Annotated[
        str, typer.Option(metavar="FLOW/NAME", help="Prefect's deployment to start")
    ] = "pneumonia-monitor/monitor",
    mlflow: Annotated[
        str | None, typer.Option("--mlflow", metavar="URL", help="MLflow server whose health /metrics reports too")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any free one")] = 9095,
) -> None:
    """Receive Alertmanager's notifications: a firing alert with the label loop="true" starts the monitor, once.

    The token that notifications bring is in PNEUMONIA_WEBHOOK_TOKEN. /metrics reports the orchestrator's pipelines.

    Example: `pneumonia webhook --prefect http://127.0.0.1:4200/api`
    """
    from pneumonia.serving.alert_webhook import run, token_of

    orchestrator = _orchestrator(airflow, prefect, dag, deployment)
    run(orchestrator, host, port, token_of(os.environ, host), mlflow)


def _orchestrator(airflow: str | None, prefect: str | None, dag: str, deployment: str) -> Orchestrator:
    from pneumonia.serving.orchestrators import Airflow, Prefect

    if (airflow is None) == (prefect is None):
        raise ConfigError("webhook: name one orchestrator, --airflow URL or --prefect URL")
    if prefect is not None:
        return Prefect(prefect, deployment, os.environ.get("PREFECT_API_AUTH_STRING", ""))
    user, password = os.environ.get("AIRFLOW_USER", ""), os.environ.get("AIRFLOW_PASSWORD", "")
    if not user or not password:
        raise ConfigError("AIRFLOW_USER, AIRFLOW_PASSWORD: set both, to an account that may start the DAG")
    return Airflow(str(airflow), user, password, dag)
