"""Define what the commands share: options, output on standard output and standard error, progress, exit codes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pneumonia.boundary import explain, keep_tracebacks_in
from pneumonia.config.resolve import resolve
from pneumonia.config.schema import Config
from pneumonia.files import expand_home
from pneumonia.progress import Progress, stays
from pneumonia.streams import explain_lost_output, lost_output

FINDING, WRONG_USE, INTERRUPTED = 1, 2, 130  # the last as shells report SIGINT
LINE_SECONDS = 15.0  # without a terminal, one line per interval replaces the bar
DISCLAIMER = "Not a medical device: for research and teaching, never for a decision about a patient."


def path_of(text: str | Path) -> Path:
    """Return a path that was given as an argument, with ``~`` expanded: not every shell does, and none after a =."""
    try:
        return Path(expand_home(str(text)))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any setting, e.g. work=/tmp/w; repeatable. See pneumonia config"),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML file of settings", show_default=False)
]

Data = Annotated[
    str | None,
    typer.Option(help="folder with train/ and test/; phantom; auto: data/chest_xray if it is there, or phantoms"),
]
Weights = Annotated[str | None, typer.Option(help="imagenet, none, or a ResNet18 state dict (FILE)")]


class Unreadable(StrEnum):
    """What to do with images that cannot be read."""

    fail = "fail"
    skip = "skip"


OnUnreadable = Annotated[
    Unreadable | None,
    typer.Option(
        help="Images that cannot be read are an error, or left out; by default data.on_unreadable (fail)",
        show_default=False,
    ),
]
VERSION = "Number or alias of a registered version, models:/NAME/VERSION or models:/NAME@ALIAS"
Number = Annotated[str, typer.Argument(metavar="VERSION", help=VERSION)]
Name = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", help="Registered model; pneumonia-resnet18 by default", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output")]


def resolve_config(
    file: Path | None,
    settings: list[str] | None,
    named: dict[str, object] | None = None,
    profile: str = "fast",
    *,
    any_model: bool = False,
) -> Config:
    """Resolve the configuration; `named` holds the values of a command's own options, which take precedence.

    With `any_model` the registered name may be of another architecture than the configured one.
    """
    given = [f"{key}={value}" for key, value in (named or {}).items() if value is not None]
    config = resolve(profile, file=file, assignments=[*(settings or []), *given], any_model=any_model)
    keep_tracebacks_in(config.work)
    return config


@contextmanager
def failures() -> Iterator[None]:
    """Turn every error into one message and an exit code; see `pneumonia.boundary`."""
    try:
        yield
        sys.stdout.flush()
    except KeyboardInterrupt:
        complain("stopped")
        raise typer.Exit(INTERRUPTED) from None
    except (Exception, SystemExit) as error:
        if lost := lost_output():  # first: Rich leaves by SystemExit where the reader has ended
            message, code = explain_lost_output(lost)
            complain(message)
            raise typer.Exit(code) from None
        if isinstance(error, SystemExit | typer.Exit | typer.Abort) or "ClickException" in {
            kind.__name__ for kind in type(error).__mro__
        }:
            raise  # Typer's own; the base class of its usage errors has no public name in every version
        message, code = explain(error)
        complain(message)
        raise typer.Exit(code) from None


def complain(text: str) -> None:
    """Print on standard error, where that can be written; there is no other place to say that it cannot."""
    if text:
        with suppress(OSError):
            typer.echo(text, err=True)


def emit(text: str) -> None:
    """Print a result on standard output; bytes of a file name that cannot be encoded are escaped."""
    typer.echo(text.encode(_encoding(), "backslashreplace").decode(_encoding()))


def can_print(text: str) -> bool:
    """Return whether the encoding of standard output has all letters of a text."""
    try:
        text.encode(_encoding())
    except UnicodeEncodeError:
        return False
    return True


def _encoding() -> str:
    return getattr(sys.stdout, "encoding", None) or "utf-8"


def emit_json(document: object) -> None:
    """Print the result as one JSON document, in ASCII, so that it is the same under every locale."""
    emit(json.dumps(document, indent=2, allow_nan=False))


def disclaim(as_json: bool) -> None:
    """Print the disclaimer: with the results, or on standard error where they are one JSON document."""
    (complain if as_json else emit)(DISCLAIMER)


def working() -> redirect_stdout[Any]:
    """Redirect the output of libraries to standard error."""
    return redirect_stdout(sys.stderr)


@contextmanager
def progress(description: str, *, of_bytes: bool = False) -> Iterator[Progress]:
    """Yield a callback for (done, of) that draws a bar on standard error, or lines where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    amount = DownloadColumn(binary_units=True) if of_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), amount, TimeRemainingColumn())
    last = time.monotonic()
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(description, total=None, start=True, visible=False)

        def report(done: float, total: float, message: str = "") -> None:
            nonlocal last
            text = message or description
            bar.update(task, completed=done, total=total or None, description=text, visible=True)  # total 0: unknown
            if stays(message):
                console.print(f"{description}: {message}", soft_wrap=True, markup=False, highlight=False)
            if not console.is_terminal and done != total and time.monotonic() - last > LINE_SECONDS:
                last = time.monotonic()
                complain(f"{description}: {_amount(done, of_bytes)} of {_amount(total, of_bytes)}")

        yield report


def _amount(number: float, of_bytes: bool) -> str:
    return f"{number / 2**20:.0f} MiB" if of_bytes else f"{number:.0f}"


def address_of(version: str, name: str | None) -> str:
    """Return the address of a version that may be named by its number or alias alone."""
    if version.startswith("models:"):
        return version
    from pneumonia.config.schema import RegistryConfig

    title = name or RegistryConfig().name
    return f"models:/{title}/{version}" if version.isdecimal() else f"models:/{title}@{version}"
