"""Describe every change of champion of a registered model, and what follows from all of them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from pneumonia.environment import account

WHO_BYTES, WHY_BYTES, DESPITE_BYTES = 250, 1500, 800
"""A parameter's value holds 6,000 characters, and JSON may double each."""

Action = Literal["promote", "rollback"]


class Move(BaseModel):
    """A change of champion; a rollback withdraws the version that it leaves.

    Attributes:
        when: ISO 8601 in UTC.
        from_version: None for the first champion.
        id: distinguishes equal moves; empty in entries of earlier releases.
        despite: what a promotion overrules: the criteria that the version has failed, and its withdrawal; empty for a
            promotion that the verdict approves.
        previous: sha256 of the entry before this one; empty in entries of earlier releases, which are not chained.
    """

    model_config = ConfigDict(frozen=True)

    when: str
    who: str
    why: str
    action: Action
    from_version: str | None
    to_version: str
    id: str = ""
    despite: tuple[str, ...] = ()
    previous: str = ""

    def __str__(self) -> str:
        """Return the move in one sentence."""
        versions = f"{self.from_version or 'none'} -> {self.to_version}"
        return f"{self.action} {versions} by {self.who} at {self.when[:19]} UTC: {self.why}{self.overruled}"

    @property
    def overruled(self) -> str:
        """What the move overrules, for the end of its reason; empty where it overrules nothing."""
        return f" [despite {', '.join(self.despite)}]" if self.despite else ""


class Standing(NamedTuple):
    """What a ledger amounts to.

    Attributes:
        champion: the version that is champion; None before the first move.
        line: the champions that led to this one and are not withdrawn, oldest first, the champion last.
        withdrawn: the versions that a rollback has left and that were not promoted since, each with its rollback.
    """

    champion: str | None
    line: tuple[str, ...]
    withdrawn: dict[str, Move]


def standing(moves: Sequence[Move]) -> Standing:
    """Return what the moves amount to, oldest first."""
    champion: str | None = None
    line: list[str] = []
    withdrawn: dict[str, Move] = {}
    for move in moves:
        champion = move.to_version
        withdrawn.pop(champion, None)
        if move.action == "rollback" and move.from_version is not None:
            withdrawn[move.from_version] = move
            line = [version for version in line if version != move.from_version]
        if not line or line[-1] != champion:
            line.append(champion)
    return Standing(champion, tuple(line), withdrawn)


def who() -> str:
    """Return the name of the person who moves the champion: GIT_AUTHOR_NAME where it is set, otherwise the account."""
    return os.environ.get("GIT_AUTHOR_NAME") or account()


def compose(
    past: Sequence[Move],
    who: str,
    why: str,
    action: Action,
    from_version: str | None,
    to_version: str,
    *,
    previous: str = "",
    despite: Sequence[str] = (),
) -> Move:
    """Return a move whose time is later than that of all past ones, even if the clock was set back.

    Args:
        past: moves, oldest first.
        who, why, action, from_version, to_version, previous, despite: see `Move`.
    """
    when = datetime.now(UTC)
    if past:
        when = max(when, datetime.fromisoformat(past[-1].when) + timedelta(microseconds=1))
    return Move(
        when=when.isoformat(timespec="microseconds"),
        who=one_line(who, WHO_BYTES),
        why=one_line(why, WHY_BYTES),
        action=action,
        from_version=from_version,
        to_version=to_version,
        id=uuid.uuid4().hex,
        despite=tuple(one_line(each, DESPITE_BYTES // len(despite)) for each in despite),
        previous=previous,
    )


def one_line(text: str, size: int) -> str:
    """Return a text in one line of at most `size` bytes."""
    line = "".join(character if character.isprintable() else " " for character in text)
    return line.encode()[:size].decode(errors="ignore")
