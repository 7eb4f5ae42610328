"""Count how often the release set has been opened: by whom, for what, and for which model.

The release set is the official test folder. A model's metrics on it mean less with every model that was looked at on it
before, so that each opening is entered in one list for all experiments of the store, before the labels are read: the
run ``openings`` of the experiment ``release set openings``. The same model for the same purpose is one opening, however
often it is repeated. Openings by demos are entered too and are counted apart.

Beside the entries stand the images of every release set (`pneumonia.registry.image_lists`), so that a folder which
holds some of them is recognised, whatever it is called and whatever else it holds. Every entry names its set's list by
digest.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from pneumonia.errors import PneumoniaError
from pneumonia.records.signature import ListHead
from pneumonia.registry import chain, image_lists, ledger
from pneumonia.registry.append_only import AppendOnly, Held
from pneumonia.tracking.client import mlflow_client, store_is_new, with_retries

EXPERIMENT = "release set openings"
KEY = "opening-"

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
        images: digest of the list of the images, `image_lists.digest`; empty in entries of earlier releases.
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
    images: str = ""
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
    return _read(uri).openings


def examine(uri: str) -> Examined:
    """Return what can still be said of the register.

    Raises:
        PneumoniaError: the list was deleted.
        TrackingError: the store cannot be reached.
    """
    if (held := _held(uri)) is None:
        return Examined([], 0, None, {})
    found = {key: _parse(text) for key, text in held.entries.items()}
    unread = [f"{key} cannot be read: {held.entries[key][:80]!r}" for key, opening in found.items() if opening is None]
    known = [opening for opening in found.values() if opening is not None]
    problems = [*unread, *_list(uri).problems(held), *_list_problems(_parameters(uri), known)]
    head = chain.head_of(EXPERIMENT, list(held.entries.values()))
    return Examined(problems, chain.unchained(held.entries), head, held.entries)


def compare(found: Examined, head: ListHead) -> list[str]:
    """Return, in sentences, what of the register is not as it was when this head was signed."""
    return chain.against_head(KEY, EXPERIMENT, found.entries, head)


class _Register(NamedTuple):
    """What was read, oldest first, once it is checked: the openings, their texts, and all parameters."""

    openings: list[Opening]
    texts: list[str]
    parameters: dict[str, str]


def _read(uri: str) -> _Register:
    if (held := _held(uri)) is None:
        return _Register([], [], {})
    found = {key: _parse(text) for key, text in held.entries.items()}
    unread = [f"{key} cannot be read" for key, opening in found.items() if opening is None]
    known = [opening for opening in found.values() if opening is not None]
    parameters = _parameters(uri)
    if problems := [*unread, *_list(uri).problems(held), *_list_problems(parameters, known)]:
        raise PneumoniaError(
            f"the register of openings is not as it was written: {'; '.join(problems)}. The release set is not opened "
            f"until it is; restore the run of the experiment {EXPERIMENT!r} in the database from a backup"
        )
    return _Register(known, list(held.entries.values()), parameters)


def _list_problems(parameters: Mapping[str, str], known: Sequence[Opening]) -> list[str]:
    """Return, in sentences, which lists of images are not as they were written or as the openings name them."""
    named: dict[str, set[str]] = {}
    for opening in known:
        if opening.images:
            named.setdefault(opening.rows, set()).add(opening.images)
    return image_lists.problems(parameters, named)


def _parameters(uri: str) -> dict[str, str]:
    """Return the parameters of the register; read after the entries, which follow the lists that they name."""
    return with_retries(uri, "read the images of the release sets", lambda: _list(uri).parameters()) or {}


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
        PneumoniaError: the list of these images is there and was changed.
        TrackingError: the store cannot be reached.
    """
    rows = rows_digest(files)
    wanted = image_lists.parameters_of(rows, files)
    there = {} if store_is_new(uri) else _parameters(uri)
    held = image_lists.lists(there).get(rows, {})
    missing = sorted(wanted.keys() - held.keys())
    if not (held.items() <= wanted.items() and all(_write(uri, name, wanted[name]) for name in missing)):
        raise PneumoniaError(
            f"the list of the images of the release set {rows[:12]} was changed in the register of openings; the "
            f"release set is not opened until it is restored: the run of the experiment {EXPERIMENT!r}, from a backup"
        )
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
        past, texts, parameters = _read(uri)
        mine = Opening(
            when=datetime.now(UTC).isoformat(timespec="microseconds"),
            who=ledger.who(),
            purpose=purpose,
            rows=rows,
            weights=weights,
            model=model,
            demo=demo,
            images=image_lists.digest(parameters, rows),
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

    Raises:
        PneumoniaError: the register, or a list in it, was changed, so that an opening might go unnoticed.
        TrackingError: the store cannot be reached.
    """
    return image_lists.holding(_read(uri).parameters, files)


def _write(uri: str, name: str, text: str) -> bool:
    return with_retries(uri, "enter the images of the release set", lambda: _list(uri).write(name, text))


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
