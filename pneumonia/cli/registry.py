"""The commands ``promote``, ``rollback``, ``history`` and ``openings``: move the champion, and show the ledgers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pneumonia.cli.common import (
    FINDING,
    ConfigFile,
    Json,
    Name,
    Settings,
    complain,
    emit,
    emit_json,
    resolve_config,
    working,
)
from pneumonia.config.schema import Config
from pneumonia.credentials import redacted
from pneumonia.errors import PneumoniaError

if TYPE_CHECKING:
    from pneumonia.registry.ledger import Move

Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, for the ledger")]
Who = Annotated[
    str | None, typer.Option("--who", metavar="NAME", help="Who decides; by default GIT_AUTHOR_NAME or the account")
]


def promote(
    why: Why,
    version: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Number or alias of a registered version", show_default=False)
    ] = None,
    run: Annotated[
        str | None, typer.Option(metavar="RUN", help="Id of an MLflow run; registers its model", show_default=False)
    ] = None,
    name: Name = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION",
            help="Number or alias of the champion that it was compared with; refused where another is by now",
            show_default=False,
        ),
    ] = None,
    despite: Annotated[
        bool,
        typer.Option(
            "--despite-verdict", help="Promote what has not passed the gate or was withdrawn; noted in the ledger"
        ),
    ] = False,
    who: Who = None,
    as_json: Json = False,
    settings: Settings = None,
    file: ConfigFile = None,
) -> None:
    """Make a version, or a run's model, the champion.

    Example: `pneumonia promote --version 3 --why "reviewed on 200 new images"`
    """
    if (version is None) == (run is None):
        raise typer.BadParameter("name one of --version and --run")
    config = _resolve(file, settings)
    reason = _stated_reason(why)
    with working():
        from pneumonia.registry import ledger, promotion

        uri, actor, title = _uri(config), who or ledger.who(), name or config.registry.name
        if run is not None:
            title, done = promotion.promote_run(uri, run, actor, reason, against=against, name=name, despite=despite)
        else:
            done = promotion.promote_version(uri, title, str(version), actor, reason, against=against, despite=despite)
        _mirror(config, uri, title)
    if not done.made:
        complain(f"{title} {done.move.to_version} is champion already; nothing was changed. The last move:")
    _print_move(title, done.move, as_json)


def rollback(
    why: Why,
    leaving: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="VERSION",
            help="Number or alias of the champion to leave; by default the present one, except after a rollback",
            show_default=False,
        ),
    ] = None,
    name: Name = None,
    who: Who = None,
    as_json: Json = False,
    settings: Settings = None,
    file: ConfigFile = None,
) -> None:
    """Make the previous champion the champion again, and withdraw the version that is left.

    Example: `pneumonia rollback --from 3 --why "false alarms on portable images"`
    """
    config = _resolve(file, settings)
    reason = _stated_reason(why)
    with working():
        from pneumonia.registry import ledger, models, moves, promotion

        uri, title = _uri(config), name or config.registry.name
        # the alias is refused after a rollback as no name is: who repeats the command means what was left already
        named = leaving if leaving != models.CHAMPION else None
        left = promotion.number(uri, title, named) if named else _champion_to_leave(uri, title)
        done = moves.rollback(uri, title, who or ledger.who(), reason, leaving=left)
        _mirror(config, uri, title)
    _print_move(title, done.move, as_json)


def _mirror(config: Config, uri: str, name: str) -> None:
    """Write the mirror that servers start from, and say where the new champion has no export yet."""
    from pneumonia.registry.mirroring import update_mirror

    held = update_mirror(uri, Path(config.work).resolve(), name)
    if held is not None and not held.export_digest:
        complain(
            f"{name} {held.version} has no exported model yet, so that it is not served; export it: pneumonia export "
            f"--model models:/{name}/{held.version}"
        )


def _champion_to_leave(uri: str, name: str) -> str:
    """Return the champion, for a rollback that names none; refuse one that may be the repetition of another."""
    from pneumonia.registry import models, moves

    past = models.history(uri, name)
    if past and past[-1].action == "rollback":
        raise PneumoniaError(
            f"{name}: the last move was a rollback already ({past[-1]}); nothing was changed. To leave version "
            f"{past[-1].to_version} as well: pneumonia rollback --name {name} --from {past[-1].to_version} --why TEXT"
        )
    champion = moves.standing(uri, name).champion
    if champion is None:
        there = models.listed(models.versions(uri, name))
        raise PneumoniaError(
            f"{name}: there is no previous champion to roll back to; versions: {there} (in {redacted(uri)})"
            f"{models.other_champions(uri)}"
        )
    complain(f"leaving version {champion} of {name}, which was champion when this command began")
    return champion


def history(
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Registered model; all by default", show_default=False)
    ] = None,
    as_json: Json = False,
    settings: Settings = None,
    file: ConfigFile = None,
) -> None:
    """Show who moved the champion, when, why, from and to which version, and where the ledger is not intact.

    A promotion that overrules a verdict or a withdrawal says so. An entry that was changed, removed or reordered ends
    the command with 1.

    Example: `pneumonia history --name pneumonia-resnet18 --json`
    """
    config = _resolve(file, settings)
    with working():
        from pneumonia.registry import models

        uri = _uri(config, writing=False)
        names = models.names(uri)
        if name is not None and name not in names:
            raise PneumoniaError(f"{name}: no such model; there are: {', '.join(names) or 'none'} (in {redacted(uri)})")
        found = {each: models.examine_ledger(uri, each) for each in ([name] if name else names)}
        moves = [(each, move) for each, ledger in found.items() for move in ledger.moves]
        damaged = {each: ledger.problems for each, ledger in found.items() if ledger.problems}
        whole = [each for each in {each: None for each, _ in moves} if each not in damaged]
        doubts = [words for each in whole if (words := _alias_doubt(uri, each))]
        doubts += [words for each, ledger in found.items() if (words := _unchained(each, ledger.unchained))]
    if as_json:
        emit_json([{"name": each, **move.model_dump(mode="json")} for each, move in moves])
    elif not moves:
        emit("No model was promoted yet; train one with python flows/pipeline.py")
        complain(f"looked in {redacted(uri)}; another work folder has a store of its own: --set work=DIR")
    else:
        for each, move in moves:
            emit(_move_lines(each, move))
    for words in doubts:
        complain(words)
    for each, problems in damaged.items():
        complain(f"{each}: the ledger is not as it was written: {'; '.join(problems)}; restore it from a backup")
    if damaged:
        raise typer.Exit(FINDING)


def openings(
    as_json: Json = False,
    settings: Settings = None,
    file: ConfigFile = None,
) -> None:
    """Show how often the release set (the official test folder) was opened: when, what for, for which model, by whom.

    The same model for the same purpose is one opening. Openings by demos are listed and not counted.

    Example: `pneumonia openings --json`
    """
    config = _resolve(file, settings)
    with working():
        from pneumonia.registry import openings as ledger

        found = ledger.openings(_uri(config))
    if as_json:
        emit_json([opening.model_dump(mode="json") for opening in found])
    elif not found:
        emit("The release set was not opened yet")
    else:
        for rows in dict.fromkeys(opening.rows for opening in found):
            counted = len(ledger.counted(found, rows))
            emit(f"release set {rows[:12]}: opened {counted} times, demos apart")
            for opening in found:
                if opening.rows == rows:
                    emit(f"  {opening}")


def _alias_doubt(uri: str, name: str) -> str:
    """Say where the alias champion is not at the version that is champion by the ledger, which predict would miss."""
    from pneumonia.registry import models, moves

    entered, held = moves.standing(uri, name).champion, models.champion(uri, name)
    if entered is None or (held is not None and held.version == entered):
        return ""
    place = f"version {held.version} has the alias champion" if held else "no version has the alias champion"
    return (
        f"warning: {name}: {place}, which was changed without an entry in the ledger; by the ledger it is version "
        f"{entered}. To set it again: pneumonia promote --name {name} --version {entered} --why TEXT"
    )


def _unchained(name: str, entries: int) -> str:
    """Say how many entries of a ledger nothing protects, because an earlier release wrote them."""
    if not entries:
        return ""
    return f"{name}: the first {entries} entries are of an earlier release, which did not chain them by digest"


def _resolve(file: Path | None, settings: list[str] | None) -> Config:
    """Resolve the configuration for the champion's commands, whose default model is that of real radiographs.

    With profile full and a data root that is not phantom, neither profile fast's name nor that of phantoms applies.
    """
    given = [f"data.root={os.devnull}", *(settings or [])]
    return resolve_config(file, given, profile="full", any_model=True)


def _uri(config: Config, *, writing: bool = True) -> str:
    from pneumonia.tracking.client import check_store, tracking_uri

    uri = tracking_uri(config)
    check_store(uri, writing=writing)
    return uri


def _stated_reason(why: str) -> str:
    if not why.strip():
        raise typer.BadParameter("--why: give a reason for the ledger")
    return why.strip()


def _move_lines(name: str, move: Move) -> str:
    when = move.when[:19].replace("T", " ")
    versions = f"{move.from_version or 'none'} -> {move.to_version}"
    if move.action == "rollback":
        versions += f", which withdraws {move.from_version}"
    override = f"\n    OVERRIDE, despite {', '.join(move.despite)}" if move.despite else ""
    return f"{when} UTC  {move.action:<8}  {name}  {versions}  by {move.who}\n    {move.why}{override}"


def _print_move(name: str, move: Move, as_json: bool) -> None:
    if as_json:
        emit_json({"name": name, **move.model_dump(mode="json")})
    else:
        emit(_move_lines(name, move))
