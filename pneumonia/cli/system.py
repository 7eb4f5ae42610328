"""The commands ``pneumonia config``, ``doctor`` and ``ui``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from pneumonia.cli.common import (
    FINDING,
    ConfigFile,
    Json,
    Settings,
    can_print,
    complain,
    emit,
    emit_json,
    resolve_config,
    working,
)
from pneumonia.config import render
from pneumonia.config.schema import PROFILES

Profile = Annotated[str, typer.Option(metavar="PROFILE", help=f"One of {', '.join(PROFILES)}")]
Port = Annotated[int, typer.Option(min=1, max=65535, metavar="PORT")]


class Format(StrEnum):
    """The output formats of a configuration."""

    toml = "toml"
    json = "json"
    yaml = "yaml"


def config(
    profile: Profile = "fast",
    form: Annotated[Format, typer.Option("--format", help="Output format")] = Format.toml,
    settings: Settings = None,
    file: ConfigFile = None,
) -> None:
    """Print the resolved configuration, every field with its description.

    Example: `pneumonia config --profile full --set train.epochs=20 > my.toml`,
    then `python flows/pipeline.py --profile full --config my.toml`
    """
    tree = resolve_config(file, settings, profile=profile)
    if form is Format.json:
        emit_json(tree.model_dump(mode="json"))
    else:
        text = {Format.toml: render.toml, Format.yaml: render.yaml}[form](tree)
        emit(text if can_print(text) else render.in_ascii(text))  # a file that is read again needs valid escapes


def doctor(
    profile: Profile = "fast", as_json: Json = False, settings: Settings = None, file: ConfigFile = None
) -> None:
    """Check whether this machine can run the pipeline, and print a remedy where it cannot. Ends with 1 on a failure.

    Example: `pneumonia doctor --profile full --set data.root=/data/chest_xray`
    """
    tree = resolve_config(file, settings, profile=profile)
    with working():
        from pneumonia.cli import doctor

        checks = doctor.examine(tree)
    failed = [check.name for check in checks if check.status == "fail"]
    if as_json:
        emit_json({"ok": not failed, "checks": [check.model_dump() for check in checks]})
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            remedy = f"; {check.remedy}" if check.remedy else ""
            emit(f"{check.status:<4}  {check.name:<{width}}  {check.text}{remedy}")
    if failed:
        complain(f"to be fixed: {', '.join(failed)}")
        raise typer.Exit(FINDING)


def ui(mlflow_port: Port = 5000, prefect_port: Port = 4200, settings: Settings = None, file: ConfigFile = None) -> None:
    """Serve MLflow's page and Prefect's, with the runs of this work folder, until Ctrl-C.

    Example: `pneumonia ui --mlflow-port 5001 --prefect-port 4201`
    """
    if mlflow_port == prefect_port:
        raise typer.BadParameter("--mlflow-port and --prefect-port must differ")
    from pneumonia.cli import ui_servers

    ui_servers.show(resolve_config(file, settings), mlflow_port, prefect_port, emit)
