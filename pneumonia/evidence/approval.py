"""Check how a version stands: its verdict against its promotion, the alias champion, whether it was withdrawn."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from pneumonia.errors import DataError
from pneumonia.records.evaluation import Verdict
from pneumonia.records.verification import Check
from pneumonia.registry import models, verdicts, withdrawals
from pneumonia.registry.ledger import Move, Standing, standing
from pneumonia.registry.models import CHAMPION, Version

EARLIER_OVERRIDE = "[despite the "
"""In the reason of a move of an earlier release, which had no field for what it overrules."""


def checks(uri: str, version: Version, folder: Path) -> list[Check]:
    """Check how a version stands, by the ledger, the aliases and the verdicts.

    Args:
        uri: of the registry.
        version: to be checked.
        folder: with the files of its run.

    Raises:
        TrackingError: the store cannot be reached.
    """
    moves = models.examine_ledger(uri, version.name).moves
    known = models.versions(uri, version.name)  # after the ledger, so that the aliases are not older
    now = standing(moves)
    held = next((each.version for each in known if CHAMPION in each.aliases), None)
    return [
        _approval(uri, version, folder, moves, held),
        _champion(now, held),
        _withdrawal(version, now, known),
    ]


def _approval(uri: str, version: Version, folder: Path, moves: list[Move], held: str | None) -> Check:
    """Check that no failed criterion carries an approval: the verdict against the version's last promotion."""
    name = "verdict against approval"
    try:
        failed = _failed_by_verdict(folder)
    except DataError as error:
        return Check(name=name, outcome="failed", detail=str(error))
    promotions = [move for move in moves if (move.action, move.to_version) == ("promote", version.version)]
    if not promotions:
        words = f"not promoted; its verdict has failed: {', '.join(failed)}" if failed else "not promoted"
        if held == version.version:
            words = f"it has the alias {CHAMPION}, and no entry of the ledger promotes it; {words}"
            return Check(name=name, outcome="failed", detail=words)
        return Check(name=name, outcome="ok", detail=words)
    move = promotions[-1]
    who = f"promoted by {move.who} at {move.when[:19]} UTC"
    if overruled := _overruled(move):
        return Check(name=name, outcome="failed", detail=f"{who} as an override, despite {overruled}")
    if last := verdicts.failed_criteria(uri, version.run_id):
        return Check(name=name, outcome="failed", detail=f"{who} although it has failed: {', '.join(last)}")
    later = "by a later validation, which is not in the list of files; " if failed else ""
    return Check(name=name, outcome="ok", detail=f"{later}{who}; every criterion has passed")


def _champion(now: Standing, held: str | None) -> Check:
    """Check that the alias is at the version that is champion by the ledger."""
    name = "champion by alias and ledger"
    if held == now.champion:
        return Check(name=name, outcome="ok", detail=f"version {held}" if held else "there is none")
    alias = f"version {held} has the alias" if held else "no version has the alias"
    entered = f"version {now.champion}" if now.champion else "none"
    words = f"{alias} {CHAMPION}, and by the ledger it is {entered}: moved by hand, or a move that was cut short"
    return Check(name=name, outcome="failed", detail=words)


def _withdrawal(version: Version, now: Standing, known: list[Version]) -> Check:
    """Fail a version whose model was withdrawn, under this or another number."""
    name = "withdrawal"
    same = [version, *(each for each in known if withdrawals.same_model(each, version))]
    if words := withdrawals.withdrawn_as(now, same):
        return Check(name=name, outcome="failed", detail=words)
    if version.withdrawn:
        words = f"the version's tag says that it was withdrawn {version.withdrawn}; the ledger does not"
        return Check(name=name, outcome="failed", detail=words)
    return Check(name=name, outcome="ok", detail="not withdrawn")


def _overruled(move: Move) -> str:
    """Return what a promotion overrules, in words; empty where it overrules nothing."""
    _, found, words = move.why.rpartition(EARLIER_OVERRIDE)
    return ", ".join(move.despite) or (words.rstrip("]") if found else "")


def _failed_by_verdict(folder: Path) -> tuple[str, ...]:
    """Return the criteria that the listed verdict has failed; of a version without a verdict none is known.

    Raises:
        DataError: the verdict contradicts its own reasons, or cannot be read.
    """
    path = folder / verdicts.VERDICT
    if not path.is_file():
        return ()
    try:
        found: Mapping[str, object] = json.loads(path.read_text(encoding="utf-8"))
        Verdict.model_validate(found)
    except ValidationError as error:
        words = "; ".join(each["msg"] for each in error.errors()[:3])
        raise DataError(f"{verdicts.VERDICT}: {words}") from None
    except ValueError:
        raise DataError(f"{verdicts.VERDICT}: cannot be read") from None
    return verdicts.failed_of(found)
