"""Print a reproduction: what needs to be looked at, and how much of the rest there is."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pneumonia.cli.common import complain, emit

if TYPE_CHECKING:
    from pneumonia.records.reproduction import Reproduction, Row

HEAD = ("claim", "claimed", "recomputed", "difference", "verdict")
VERDICTS = ("equal", "differs", "may differ", "not recomputed")
LOUD = ("differs", "may differ")
NAMED = 6
"""Claims of a group that are named, unless all are wanted."""


def print_reproduction(found: Reproduction, *, verbose: bool) -> None:
    """Print the rows that differ or may differ, what was not recomputed in groups, and counts.

    Args:
        found: what was compared.
        verbose: print every row, and name every claim of a group.
    """
    rows = found.rows if verbose else [row for row in found.rows if row.verdict in LOUD]
    if rows:
        _table([HEAD, *map(_line, rows)])
        emit("")
    for row in found.rows:
        if row.note and row.verdict in LOUD:
            complain(f"{row.part} {row.name}: {row.verdict}: {row.note}")
    for line in _not_recomputed(found.rows, verbose=verbose):
        emit(line)
    _table(list(_counts(found.rows)))
    counted = Counter(row.verdict for row in found.rows)
    emit(
        f"{found.version}: {len(found.rows)} claims, {counted['differs']} differ, {counted['may differ']} may differ, "
        f"{counted['not recomputed']} were not recomputed" + ("" if verbose else "; all rows: --verbose or --json")
    )
    for row in found.rows if verbose else ():  # the short table has no other rows
        if row.verdict == "differs":
            emit(f"DIFFERS  {row.part} {row.name}")


def _not_recomputed(rows: Sequence[Row], *, verbose: bool) -> Iterator[str]:
    groups: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.verdict == "not recomputed":
            groups.setdefault((row.part, row.note), []).append(row.name)
    for (part, note), names in groups.items():
        yield f"not recomputed: {len(names)} of {part}: {note}"
        more = "" if verbose or len(names) <= NAMED else f", and {len(names) - NAMED} more"
        yield textwrap.fill(
            ", ".join(names if verbose else names[:NAMED]) + more, 116, initial_indent="    ", subsequent_indent="    "
        )
    if groups:
        yield ""


def _counts(rows: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    """Yield the lines of a table: how many claims of each part have which verdict."""
    yield ("part", *VERDICTS)
    counted = Counter[tuple[str, str]]((row.part, row.verdict) for row in rows)
    for part in dict.fromkeys(row.part for row in rows):
        yield (part, *(str(counted[part, verdict] or "-") for verdict in VERDICTS))


def _table(lines: Sequence[tuple[str, ...]]) -> None:
    wide = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    for line in lines:
        emit("  ".join(text.ljust(width) for text, width in zip(line, wide, strict=True)).rstrip())


def _line(row: Row) -> tuple[str, ...]:
    difference = "" if row.difference is None else f"{row.difference:+.3g}"
    return f"{row.part} {row.name}", _value(row.claimed), _value(row.recomputed), difference, row.verdict


def _value(value: float | str | None) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else value[:24]
