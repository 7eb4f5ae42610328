"""Count how often the release set has been opened: by whom, for what, and for which model.

The release set is the official test folder. A model's metrics on it mean less with every model that was looked at on it
before, so that each opening is entered in one list for all experiments of the store, before the labels are read: the
run ``openings`` of the experiment ``release set openings``. The same model for the same purpose is one opening, however
often it is repeated. Openings by demos are entered too and are counted apart.

Beside the entries stand the images of every release set, by the first digits of their files' digests, so that a folder
which holds some of them is recognised, whatever it is called and whatever else it holds.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from pneumonia.errors import PneumoniaError
from pneumonia.records.signature import ListHead
from pneumonia.registry import chain, ledger
from pneumonia.registry.append_only import AppendOnly, Held
from pneumonia.tracking.client import mlflow_client, store_is_new, with_retries

EXPERIMENT = "release set openings"
KEY = "opening-"
ROWS = "rows-"
DIGITS = 12  # of a file's digest: among a million other images one in 400 runs would be taken for one of 624
CHUNK = 400  # of such digests in a parameter, which holds 6,000 characters

GATE = "gate"
"""Purpose of the pipeline; others name their command or script."""

logger = logging.getLogger(__name__)


class ReleaseSetSpent(PneumoniaError):
    """The release set has been opened as often as the change control plan allows until the next promotion."""


class Opening(BaseModel):
    """An opening of the release set.

    Attributes:
        when: ISO 8601 in UTC.
        who: see `pneumonia.registry.ledger.who`.
        purpose: `GATE`, or the command or script.
        rows: digest of the images' files, `rows_digest`.
        weights: digest of the model's weights.
        model: its registered name, or what its file is called.
        demo: by a demo profile, or of phantoms.
        previous: sha256 of the entry before this one; empty in entries of earlier releases, which are not chained.
    """

    model_config = ConfigDict(frozen=True)

    when: str
    who: str
    purpose: str
    rows: str
    weights: str
    model: str
    demo: bool = False
    previous: str = ""

    def is_same(self, other: Opening) -> bool:
        """Return whether both are one opening: the same model on the same images for the same purpose."""
        return (self.rows, self.weights, self.purpose) == (other.rows, other.weights, other.purpose)

    def __str__(self) -> str:
        """Return the opening in one line."""
        demo = " (demo)" if self.demo else ""
        return f"{self.when[:19]} UTC  {self.purpose}{demo}  {self.model} {self.weights[:12]}  by {self.who}"


def rows_digest(files: Collection[str]) -> str:
    """Return the digest of a set of images, in any order, from their files' sha256 in hex."""
    return hashlib.sha256("\n".join(sorted(set(files))).encode()).hexdigest()


class Examined(NamedTuple):
    """What can still be said of the register, damaged or not.

    Attributes:
        problems: in sentences; none for an intact register.
        unchained: number of entries of earlier releases, which did not chain them.
        head: of the register as it is; None where there is none.
        entries: texts by their keys, in order.
    """

    problems: list[str]
    unchained: int
    head: ListHead | None
    entries: dict[str, str]


def openings(uri: str) -> list[Opening]:
    """Return all openings of a store, oldest first.

    Raises:
        PneumoniaError: the list was deleted, or an entry was changed, removed or reordered.
        TrackingError: the store cannot be reached.
    """
    return _read(uri)[0]


def examine(uri: str) -> Examined:
    """Return what can still be said of the register.

    Raises:
        PneumoniaError: the list was deleted.
        TrackingError: the store cannot be reached.
    """
    if (held := _held(uri)) is None:
        return Examined([], 0, None, {})
    unread = [f"{key} cannot be read: {text[:80]!r}" for key, text in held.entries.items() if _parse(text) is None]
    head = chain.head_of(EXPERIMENT, list(held.entries.values()))
    return Examined([*unread, *_list(uri).problems(held)], chain.unchained(held.entries), head, held.entries)


def compare(found: Examined, head: ListHead) -> list[str]:
    """Return, in sentences, what of the register is not as it was when this head was signed."""
    return chain.against_head(KEY, EXPERIMENT, found.entries, head)


def _read(uri: str) -> tuple[list[Opening], list[str]]:
    """Return the openings and their texts, oldest first, once the chain is checked."""
    if (held := _held(uri)) is None:
        return [], []
    found = {key: _parse(text) for key, text in held.entries.items()}
    unread = [f"{key} cannot be read" for key, opening in found.items() if opening is None]
    if problems := [*unread, *_list(uri).problems(held)]:
        raise PneumoniaError(
            f"the register of openings is not as it was written: {'; '.join(problems)}. The release set is not opened "
            f"until it is; restore the run of the experiment {EXPERIMENT!r} in the database from a backup"
        )
    return [opening for opening in found.values() if opening is not None], list(held.entries.values())


def _held(uri: str) -> Held | None:
    if store_is_new(uri):
        return None
    return with_retries(uri, "read the openings of the release set", lambda: _list(uri).read())


def _parse(text: str) -> Opening | None:
    try:
        return Opening.model_validate_json(text)
    except ValidationError:
        return None


def counted(found: Sequence[Opening], rows: str, since: str = "") -> list[Opening]:
    """Return the openings of a release set that count against the plan: not by demos, after the last promotion.

    Args:
        found: of `openings`.
        rows: digest of the release set.
        since: ISO 8601 in UTC; empty: all.
    """
    return [opening for opening in found if opening.rows == rows and not opening.demo and opening.when > since]


def enter_images(uri: str, files: Collection[str]) -> str:
    """Enter which images a release set holds, so that some of them are recognised elsewhere.

    Args:
        uri: of the store.
        files: sha256 of the files of all its images.

    Returns:
        The digest of the set, for `enter`.

    Raises:
        TrackingError: the store cannot be reached.
    """
    rows = rows_digest(files)
    _enter_rows(uri, rows, files)
    return rows


def enter(
    uri: str,
    rows: str,
    *,
    weights: str,
    model: str,
    purpose: str,
    demo: bool = False,
    limit: int | None = None,
    since: str = "",
) -> int:
    """Enter an opening, before the labels are read; the same opening a second time enters nothing.

    Args:
        uri: of the store.
        rows: digest of the release set.
        weights: digest of the model's weights; empty where there is no model.
        model: its name.
        purpose: `GATE`, or the command or script.
        demo: by a demo profile, or of phantoms.
        limit: how many openings the plan allows; None for demos and for what the plan does not bound.
        since: time of the last promotion.

    Returns:
        How many openings of these images there are, this one and demos' included.

    Raises:
        ReleaseSetSpent: the plan allows no further one; nothing was entered.
        TrackingError: the store cannot be reached.
    """
    while True:
        past, texts = _read(uri)
        mine = Opening(
            when=datetime.now(UTC).isoformat(timespec="microseconds"),
            who=ledger.who(),
            purpose=purpose,
            rows=rows,
            weights=weights,
            model=model,
            demo=demo,
            previous=chain.follow(EXPERIMENT, texts),
        )
        there = [opening for opening in past if opening.rows == rows]
        if any(mine.is_same(opening) for opening in there):
            return len(there)
        spent = counted(there, rows, since)
        if limit is not None and not demo and len(spent) >= limit:
            raise ReleaseSetSpent(_spent(spent, limit))
        if _append(uri, texts, mine):
            logger.info("the release set is opened for the %d. time, for %s", len(there) + 1, purpose)
            return len(there) + 1


def recognised(uri: str, files: Collection[str]) -> list[str]:
    """Return the digests of the release sets of which some of these files are images.

    Args:
        uri: of the store.
        files: sha256 of the files.
    """
    if store_is_new(uri):
        return []
    wanted = {digest[:DIGITS] for digest in files}
    parameters = with_retries(uri, "read the images of the release sets", lambda: _list(uri).parameters()) or {}
    found = []
    for name, text in parameters.items():
        if name.startswith(ROWS) and not wanted.isdisjoint(text.split()):
            found.append(name.removeprefix(ROWS).partition("-")[0])
    return sorted(set(found))


def _enter_rows(uri: str, rows: str, files: Collection[str]) -> None:
    digits = sorted({digest[:DIGITS] for digest in files})
    there = with_retries(uri, "read the images of the release sets", lambda: _list(uri).parameters()) or {}
    for number, at in enumerate(range(0, len(digits), CHUNK)):
        name, text = f"{ROWS}{rows}-{number:04d}", " ".join(digits[at : at + CHUNK])
        if name not in there:
            _write(uri, name, text)


def _write(uri: str, name: str, text: str) -> None:
    with_retries(uri, "enter the images of the release set", lambda: _list(uri).write(name, text))


def _append(uri: str, past: Sequence[str], mine: Opening) -> bool:
    return with_retries(
        uri, "enter an opening of the release set", lambda: _list(uri).append(past, mine.model_dump_json())
    )


def _list(uri: str) -> AppendOnly:
    return AppendOnly(mlflow_client(uri), EXPERIMENT, "openings", KEY)


def _spent(spent: Sequence[Opening], limit: int) -> str:
    lines = "\n  ".join(str(opening) for opening in spent)
    return (
        f"the release set has been opened {len(spent)} times since the last promotion, and the change control plan "
        f"allows {limit}:\n  {lines}\n"
        "A further model would be chosen by these images. Take new images as the release set, or raise "
        "openings_per_release in a plan of your own (--set gate.policy=FILE), whose digest stands in every verdict."
    )
