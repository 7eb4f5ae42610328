"""Define the options that the flows' command lines share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pneumonia.cli import common
from pneumonia.config.resolve import resolve
from pneumonia.config.schema import Config

Profile = Annotated[str, typer.Option(help="fast: 10 % of the patients, one epoch; full: everything")]
Data = common.Data
Weights = common.Weights
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="any setting, e.g. train.epochs=3; repeatable"),
]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="a TOML file of settings")]
Engine = Annotated[
    str, typer.Option(metavar="local|ray", help="local: this machine; ray: the machines of a Ray cluster")
]
Address = Annotated[
    str,
    typer.Option(metavar="HOST:PORT", help="of the Ray cluster, or ray://HOST:10001; otherwise that in RAY_ADDRESS"),
]
OnUnreadable = Annotated[str | None, typer.Option(help="fail, or skip images that cannot be read")]


def resolved(profile: str, file: Path | None, settings: list[str] | None, **named: str | None) -> Config:
    """Resolve the configuration; the options of their own, such as ``data_root``, take precedence.

    Args:
        profile: its name.
        file: TOML file of settings.
        settings: ``section.key=value``.
        named: settings by ``section_key``; None: the option was not used.

    Raises:
        ConfigError: a setting is unknown or out of its range.
    """
    given = [f"{name.replace('_', '.', 1)}={value}" for name, value in named.items() if value is not None]
    return resolve(profile, file=file, assignments=[*(settings or []), *given])
