"""The result of reproducing a version: what is claimed, what was computed again, and how far both differ."""

from __future__ import annotations

import math
from typing import Literal, TypeGuard

from pneumonia.records.base import Document

RowVerdict = Literal["equal", "differs", "may differ", "not recomputed"]


class Row(Document):
    """A claim and what was computed again.

    Attributes:
        part: where the claim is made: a file of the version, the registry, MLflow's metrics, or the retrained model.
        name: of the number or digest.
        claimed, recomputed: None where there is none.
        difference: recomputed less claimed; None for what is not a number.
        verdict: ``may differ`` is a difference that is expected, because another kind of machine has computed it.
        note: why; empty where nothing is to be said.
    """

    part: str
    name: str
    claimed: float | str | None
    recomputed: float | str | None
    difference: float | None
    verdict: RowVerdict
    note: str = ""


class Reproduction(Document):
    """All that was compared.

    Attributes:
        version: address of the version.
        commit: of the code that was checked out; None where that was not needed.
        passed: nothing differs.
        notes: what was different from when the version was made, in sentences.
    """

    version: str
    commit: str | None
    passed: bool
    notes: tuple[str, ...]
    rows: tuple[Row, ...]


TOLERANCE = 1e-9
"""Largest difference of numbers that count as equal: processors add in different orders; a hand edits more."""


def compare(part: str, name: str, claimed: object, recomputed: object, note: str = "") -> Row:
    """Return the row of a claim; numbers within `TOLERANCE` are equal."""
    numbers = [each for each in (claimed, recomputed) if _is_number(each)]
    if len(numbers) == 2:
        before, now = float(numbers[0]), float(numbers[1])
        difference = now - before
        equal = abs(difference) <= TOLERANCE
        return Row(part=part, name=name, claimed=before, recomputed=now, difference=difference,
                   verdict="equal" if equal else "differs", note=note)  # fmt: skip
    before_text, now_text = _text(claimed), _text(recomputed)
    return Row(part=part, name=name, claimed=before_text, recomputed=now_text, difference=None,
               verdict="equal" if before_text == now_text else "differs", note=note)  # fmt: skip


def not_recomputed(part: str, name: str, claimed: object, note: str) -> Row:
    """Return the row of a claim that nothing was kept for to compute it again."""
    value = float(claimed) if _is_number(claimed) else _text(claimed)
    return Row(
        part=part, name=name, claimed=value, recomputed=None, difference=None, verdict="not recomputed", note=note
    )


def _is_number(value: object) -> TypeGuard[int | float]:
    """Return whether a value is a finite number; others are compared as text, which a document can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
