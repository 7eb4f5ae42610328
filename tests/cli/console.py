"""The console script inside the test's own process, which spares each test seconds of imports."""

from __future__ import annotations

from typer.testing import CliRunner

from pneumonia.cli.main import app

COMMANDS = [
    ("data", "fetch"),
    ("data", "phantom"),
    ("data", "audit"),
    ("data", "verify"),
    ("data", "ingest"),
    ("feedback", "list"),
    ("feedback", "review"),
    ("feedback", "export"),
    ("predict",),
    ("evaluate",),
    ("promote",),
    ("rollback",),
    ("history",),
    ("dossier",),
    ("verify",),
    ("reproduce",),
    ("keys",),
    ("sign",),
    ("config",),
    ("doctor",),
    ("ui",),
]


def call(*arguments: str):  # type: ignore[no-untyped-def]
    """Call a command; the result has exit_code, stdout, stderr and exception."""
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"}, prog_name="pneumonia")
