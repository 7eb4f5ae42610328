"""Define the console script: ``pneumonia --help``.

Every command prints its result on standard output, with ``--json`` as one JSON document, and everything else on
standard error. It ends with 0 when done, 1 for a finding or a refusal, 2 for wrong use, 70 for an error
that nobody expected, whose traceback is written to a file. Libraries that take seconds to
import are imported inside the commands that need them.
"""

from __future__ import annotations

import logging
from typing import Any

import typer
import typer.core

import pneumonia
from pneumonia.cli.common import DISCLAIMER, emit, failures
from pneumonia.cli.data import app as data
from pneumonia.cli.evaluate import evaluate
from pneumonia.cli.evidence import dossier
from pneumonia.cli.feedback import app as feedback
from pneumonia.cli.predict import predict
from pneumonia.cli.registry import history, openings, promote, rollback
from pneumonia.cli.reproduce import reproduce
from pneumonia.cli.serve import explain, export, score, serve
from pneumonia.cli.signing import keys, sign
from pneumonia.cli.system import config, doctor, ui
from pneumonia.cli.verify import verify
from pneumonia.cli.webhook import webhook
from pneumonia.environment import prepare

HELP = f"""Detect pneumonia on chest radiographs, and manage the model that does.

{DISCLAIMER}

Exit codes: 0 done, 1 a finding or a refusal, 2 wrong use, 70 an unexpected error (its traceback is in a file).
"""
EPILOG = "Train a model: python flows/pipeline.py. Is this machine ready? pneumonia doctor"


class Commands(typer.core.TyperGroup):
    """The commands, with each error reported in one message."""

    def make_context(self, *args: Any, **named: Any) -> Any:
        with failures():  # help and version are printed while the command line is parsed
            return super().make_context(*args, **named)

    def invoke(self, ctx: Any) -> Any:
        with failures():
            return super().invoke(ctx)


app = typer.Typer(
    cls=Commands,
    help=HELP,
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data, name="data")
app.add_typer(feedback, name="feedback")
for command in (
    serve,
    predict,
    explain,
    score,
    evaluate,
    export,
    promote,
    rollback,
    history,
    openings,
    dossier,
    verify,
    reproduce,
    keys,
    sign,
    config,
    doctor,
    ui,
    webhook,
):
    app.command()(command)


def _version(wanted: bool) -> None:
    if wanted:
        emit(pneumonia.__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version"),
) -> None:
    pass


def main() -> None:
    """Run the console script."""
    prepare()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")  # on standard error
    app(prog_name="pneumonia")
