"""The commands ``pneumonia feedback list``, ``review`` and ``export``: what readers say, and how labels settle."""

from __future__ import annotations

import csv
import io
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumonia.cli.common import (
    ConfigFile,
    Json,
    Settings,
    complain,
    disclaim,
    emit,
    emit_json,
    path_of,
    resolve_config,
    working,
)
from pneumonia.config.schema import Config
from pneumonia.errors import FeedbackError, UnknownEventError
from pneumonia.files import printable, write_text
from pneumonia.records.evaluation import Metric
from pneumonia.records.feedback import Feedback, Label, ReaderAgreement, ReviewedEvent, Said

if TYPE_CHECKING:
    from pneumonia.monitoring.database import Database

app = typer.Typer(
    help="Show what readers say of answers, settle disputed labels, and export settled ones.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
EXPORTED = (
    *("event_id", "time", "name", "version", "model_digest", "probability", "decision", "threshold", "label", "how"),
    *("readers", "patient", "study", "image"),
)
"""Columns of an export; patient and study are hashed with the site's key."""
_ANSWERS: dict[str, Label] = {"normal": "NORMAL", "n": "NORMAL", "pneumonia": "PNEUMONIA", "p": "PNEUMONIA"}


class StateName(StrEnum):
    """The state of an event's label."""

    settled = "settled"
    open = "open"
    disputed = "disputed"


class LabelName(StrEnum):
    """The classes."""

    NORMAL = "NORMAL"
    PNEUMONIA = "PNEUMONIA"


class Format(StrEnum):
    """The form of an export."""

    csv = "csv"
    json = "json"


Name = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="Registered model; all by default", show_default=False)
]


@app.command("list")
def list_events(
    state: Annotated[
        StateName | None, typer.Option(help="Only events in this state; all by default", show_default=False)
    ] = None,
    name: Name = None,
    as_json: Json = False,
    settings: Settings = None,
    file: ConfigFile = None,
) -> None:
    """List the events that readers have spoken about, and how far readers agree with each other and with the model.

    Example: `pneumonia feedback list --state disputed`
    """
    config = resolve_config(file, settings)
    with working(), _opened(config) as database:
        from pneumonia.monitoring.agreement import read_agreement
        from pneumonia.monitoring.feedback import reviewed_events

        events = reviewed_events(database, name=name, state=None if state is None else state.value)
        agreement = read_agreement(database, config.evaluation, name)
    if as_json:
        emit_json({"events": [event.model_dump() for event in events], "agreement": agreement.model_dump()})
        return
    if not events:
        complain(f"no such feedback in the database of {_folder(config)}")
    for event in events:
        emit(_line(event))
    emit(_agreement(agreement))
    disclaim(as_json)


@app.command()
def review(
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who adjudicates")],
    event: Annotated[
        str | None, typer.Option("--event", metavar="ID", help="One event, without a question", show_default=False)
    ] = None,
    label: Annotated[
        LabelName | None, typer.Option("--label", help="Its label; with --event", show_default=False)
    ] = None,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="Why, up to 1,000 characters")] = "",
    with_open: Annotated[bool, typer.Option("--open", help="Also events whose label one reader alone gave")] = False,
    name: Name = None,
    as_json: Json = False,
    settings: Settings = None,
    file: ConfigFile = None,
) -> None:
    """Adjudicate disputed labels: one event after another, or one that is named. The label settles.

    Who has read an event cannot adjudicate it.

    Example: `pneumonia feedback review --by "Dr Roe"`
    """
    if (event is None) != (label is None):
        raise typer.BadParameter("name both --event and --label, or none of them")
    if not by.strip():
        raise typer.BadParameter("--by: name the one who adjudicates")
    config = resolve_config(file, settings)
    from pneumonia.data.patient_key import Pseudonyms
    from pneumonia.monitoring.feedback import reader_pseudonym

    who = reader_pseudonym(Pseudonyms(Path(config.work).resolve()), by)
    with _opened(config) as database:
        if event is not None and label is not None:
            made = [_adjudicate(database, _found(database, event), label.value, who, note)]
        else:
            made = _ask(database, _folder(config), who, name, with_open=with_open)
    if as_json:
        emit_json([said.model_dump() for said in made])
    else:
        emit(f"{len(made)} label(s) settled by {printable(by)}")


@app.command()
def export(
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FILE", parser=path_of, help="File; standard output by default"),
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="Form of the export")] = Format.csv,
    name: Name = None,
    settings: Settings = None,
    file: ConfigFile = None,
) -> None:
    """Export the settled labels: event, model, label, and how it settled; patients and studies by hashed id alone.

    Example: `pneumonia feedback export --to labels.csv`
    """
    config = resolve_config(file, settings)
    with working(), _opened(config) as database:
        from pneumonia.monitoring.feedback import settled

        rows = [_exported(event) for event in settled(database, name=name)]
    if form is Format.json and to is None:
        emit_json(rows)
        return
    text = _json(rows) if form is Format.json else _csv(rows)
    if to is None:
        emit(text.rstrip("\n"))
    else:
        write_text(to, text)
        complain(f"{len(rows)} settled labels in {to}")


@contextmanager
def _opened(config: Config) -> Iterator[Database]:
    from pneumonia.monitoring.database import Database

    database = Database.of(config)
    try:
        yield database
    finally:
        database.close()


def _folder(config: Config) -> Path:
    from pneumonia.monitoring.database import monitoring_folder

    return monitoring_folder(config)


def _line(event: ReviewedEvent) -> str:
    answer = f"refused ({event.code})" if event.probability is None else f"{event.probability:.3f} {event.decision}"
    label = f"{event.label} by {_settler(event)}" if event.label else f"{event.readers} label(s)"
    return f"{event.event_id}  {_time(event.at)}  {event.name} {event.version}  {answer}  {event.state}: {label}"


def _settler(event: ReviewedEvent) -> str:
    return f"{event.readers} readers" if event.how == "readers" else "an adjudicator"


def _time(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def _agreement(found: ReaderAgreement) -> str:
    if found.share is None:
        between = "no event has labels of two readers"
    else:
        between = (
            f"{found.readers} readers, {found.events} events with two labels or more: {_shown(found.share)} of the "
            f"pairs agree, kappa {_shown(found.kappa)}"
        )
    if found.model_share is None:
        return f"{between}; no reader's label beside a decision"
    with_model = f"agreement with the model {_shown(found.model_share)}, kappa {_shown(found.model_kappa)}"
    return f"{between}; {with_model} ({found.model_events} events; readers have seen its decision)"


def _shown(metric: Metric | None) -> str:
    return "not defined" if metric is None else f"{metric.value:.2f} ({metric.low:.2f} to {metric.high:.2f})"


def _found(database: Database, event_id: str) -> ReviewedEvent:
    """Return an event, also one that nobody has spoken about."""
    from pneumonia.monitoring.events import find_event

    row = find_event(database, event_id)
    if row is None:
        raise UnknownEventError(f"there is no event {printable(event_id[:40])}; see pneumonia feedback list")
    members = {name: row[name] for name in ReviewedEvent.model_fields if name in row}
    return ReviewedEvent(**members, state="open", label=None, how=None, readers=0, words=0)


def _adjudicate(database: Database, event: ReviewedEvent, label: Label, by: str, note: str) -> Feedback:
    from pneumonia.monitoring.feedback import give_feedback

    verdict: Said = "agree" if label == event.decision else "disagree"
    return give_feedback(database, event.event_id, by, verdict, label, note, role="adjudicator")


def _ask(database: Database, folder: Path, by: str, name: str | None, *, with_open: bool) -> list[Feedback]:
    """Show one event after another, and ask for its label."""
    from pneumonia.monitoring.feedback import reviewed_events, words_about

    if not _is_terminal():
        raise typer.BadParameter("there is no terminal to ask at; name --event ID and --label")
    events = reviewed_events(database, name=name)
    waiting = [event for event in events if event.state == "disputed" or (with_open and event.state == "open")]
    made = []
    for number, event in enumerate(waiting, start=1):
        complain(f"\n{number} of {len(waiting)}: {_line(event)}")
        for said in words_about(database, event.event_id):
            complain(
                f"  {said.role} {printable(said.reader)}: {said.verdict}, {said.label or 'no label'}; {said.note!r}"
            )
        complain(f"  image: {folder / event.image if event.image else 'was not kept'}")
        answer = typer.prompt("NORMAL, PNEUMONIA, skip or quit", default="skip", err=True).strip().casefold()
        if answer in ("quit", "q"):
            break
        chosen: Label | None = {"normal": "NORMAL", "n": "NORMAL", "pneumonia": "PNEUMONIA", "p": "PNEUMONIA"}.get(
            answer
        )  # type: ignore[assignment]
        if chosen is None:
            complain("  skipped")
            continue
        why = typer.prompt("why (may be empty)", default="", show_default=False, err=True)
        try:
            made.append(_adjudicate(database, event, chosen, by, why))
        except FeedbackError as error:  # the others are still to be asked
            complain(f"  {error}")
    return made


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _exported(event: ReviewedEvent) -> dict[str, Any]:
    members = event.model_dump() | {"time": _time(event.at)}
    return {name: members[name] for name in EXPORTED}


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, EXPORTED, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _json(rows: Sequence[dict[str, Any]]) -> str:
    import json

    return json.dumps(rows, indent=2, allow_nan=False) + "\n"
