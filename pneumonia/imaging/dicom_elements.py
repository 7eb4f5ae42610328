"""Read the elements of a DICOM data set, whichever type they were written with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from pneumonia.imaging.refusal import FETCH_AGAIN, Refusal


def reals(dataset: Dataset, name: str) -> list[float | None]:
    """Return an element's numbers, None for an empty one; empty where the element is absent or empty."""
    numbers = [None if value in (None, "") else _number(value, name) for value in values(dataset, name)]
    return [] if numbers == [None] else numbers


def words(dataset: Dataset, name: str) -> list[int]:
    """Return an element's integers as patterns of 16 bits, whichever type they were written with."""
    return [int(word) for word in as_words(values(dataset, name), dataset, name)]


def as_signed(word: int, bits: int = 16) -> int:
    """Return the number that a pattern of bits means in two's complement."""
    return word - (1 << bits) if word >> (bits - 1) & 1 else word


def text(dataset: Dataset, name: str) -> str:
    """Return an element's text, of several the first, in upper case and without spaces around it; empty if absent."""
    first = next(iter(values(dataset, name)), "")
    return (first.decode("latin-1") if isinstance(first, bytes) else str(first)).strip(" \0").upper()


def values(dataset: Dataset, name: str) -> list[Any]:
    """Return an element's values; empty where the element is absent or empty."""
    try:
        value = dataset.get(name)
    except (ValueError, TypeError, ArithmeticError):
        raise damaged(f"its {name} is not a number") from None
    if value is None or value in ("", b""):
        return []
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]


def _number(value: Any, name: str) -> float:
    try:
        number = float(value)
    except (ValueError, TypeError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise damaged(f"its {name} is not a number")
    return number


def as_words(found: list[Any], dataset: Dataset, name: str) -> NDArray[np.uint16]:
    """Return values, which may be bytes, as patterns of 16 bits."""
    if len(found) == 1 and isinstance(found[0], bytes):
        content = found[0][: len(found[0]) // 2 * 2]
        little = dataset.original_encoding[1] is not False
        return np.frombuffer(content, dtype="<u2" if little else ">u2").astype(np.uint16)
    try:
        return (np.array(found, dtype=np.int64) & 0xFFFF).astype(np.uint16)
    except (ValueError, TypeError, OverflowError):
        raise damaged(f"its {name} is not a number") from None


def damaged(detail: str) -> Refusal:
    """Return the refusal of a data set that contradicts itself."""
    return Refusal(f"is a damaged DICOM file ({detail})", FETCH_AGAIN)
