"""Read the lookup tables of DICOM images (PS3.3, C.11.1 and C.11.2), and the numbers beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from pneumonia.imaging.refusal import FETCH_AGAIN, Refusal

_MOST = 2**16


def reals(dataset: Dataset, name: str) -> list[float | None]:
    """Return an element's numbers, None for an empty one; empty where the element is absent or empty."""
    numbers = [None if value in (None, "") else _number(value, name) for value in _values(dataset, name)]
    return [] if numbers == [None] else numbers


def words(dataset: Dataset, name: str) -> list[int]:
    """Return an element's integers as patterns of 16 bits, whichever type they were written with."""
    return [int(word) for word in _words(_values(dataset, name), dataset, name)]


def as_signed(word: int, bits: int = 16) -> int:
    """Return the number that a pattern of bits means in two's complement."""
    return word - (1 << bits) if word >> (bits - 1) & 1 else word


@dataclass(frozen=True)
class LookupTable:
    """A table of a modality or VOI transformation.

    Attributes:
        first: pattern of 16 bits of the value that the first entry stands for, signed or not.
        bits: that its entries are declared to have.
        entries: uint16 [N].
    """

    first: int
    bits: int
    entries: NDArray[np.uint16]

    def apply(self, values: NDArray[np.float64], counts: NDArray[np.int64], signed: bool) -> NDArray[np.float64]:
        """Map values [N]; those before the first entry become the first, those after the last the last.

        Whether the first value mapped is signed follows from the values (PS3.3, C.11.1.1 and C.11.2.1.1), and not all
        writers follow it: of the two readings the one is taken that covers more of the image's pixels.

        Args:
            values: of every possible stored value.
            counts: how many of the image's pixels have each.
            signed: the reading where both cover as many.
        """
        readings = [as_signed(self.first), self.first] if signed else [self.first, as_signed(self.first)]
        steps = [np.rint(values - first) for first in readings]
        covered = [int(counts[(step >= 0) & (step < len(self.entries))].sum()) for step in steps]
        step = steps[0] if covered[0] >= covered[1] else steps[1]
        return self.entries[step.clip(0, len(self.entries) - 1).astype(np.int64)].astype(np.float64)

    def output_range(self) -> tuple[float, float, str]:
        """Return the outputs that are shown black and white, and a note where they are not the declared ones.

        Some writers declare 16 bits for entries of 12: the entries' own range is shown where it does not need the
        declared bits, or does not fit into them.
        """
        low, high = int(self.entries.min()), int(self.entries.max())
        if high.bit_length() == self.bits:
            return 0.0, float(2**self.bits - 1), ""
        note = f"its VOI LUT declares {self.bits} bits and holds {low} to {high}; that range is shown"
        return float(low), float(high), note


def read_table(dataset: Dataset, name: str) -> LookupTable | None:
    """Return the first table of a sequence, None where there is none or each item is empty.

    Raises:
        Refusal: a table without its descriptor or its data, or with fewer entries than it declares.
    """
    sequence = dataset.get(name)
    if not sequence:
        return None
    if isinstance(sequence, str | bytes) or not all(isinstance(item, Dataset) for item in sequence):
        raise _damaged(f"its {name} is no sequence")
    tables = (_read_item(item, name) for item in sequence)
    return next((table for table in tables if table is not None), None)


def _read_item(item: Dataset, name: str) -> LookupTable | None:
    raw = item.get_item("LUTData") if "LUTData" in item else None
    if isinstance(raw, RawDataElement) and raw.value is not None and len(raw.value) > 2 * _MOST:
        raise _damaged(f"its {name} holds more than {_MOST:,} entries")
    descriptor = words(item, "LUTDescriptor")
    values = _values(item, "LUTData")
    if not descriptor and not values:
        return None
    if len(descriptor) != 3 or not values:
        raise _damaged(f"its {name} is incomplete")
    count, first, bits = descriptor[0] or _MOST, descriptor[1], descriptor[2]
    entries = _words(values, item, "LUTData")
    if bits <= 8 and len(entries) == (count + 1) // 2 and count > 1:  # two entries a word, the first one low
        entries = entries.astype("<u2").view(np.uint8).astype(np.uint16)
    if len(entries) < count:
        raise _damaged(f"its {name} has {len(entries):,} of {count:,} entries")
    return LookupTable(first, bits, entries[:count])


def _values(dataset: Dataset, name: str) -> list[Any]:
    try:
        value = dataset.get(name)
    except (ValueError, TypeError, ArithmeticError):
        raise _damaged(f"its {name} is not a number") from None
    if value is None or value in ("", b""):
        return []
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]


def _number(value: Any, name: str) -> float:
    try:
        number = float(value)
    except (ValueError, TypeError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise _damaged(f"its {name} is not a number")
    return number


def _words(values: list[Any], dataset: Dataset, name: str) -> NDArray[np.uint16]:
    if len(values) == 1 and isinstance(values[0], bytes):
        content = values[0][: len(values[0]) // 2 * 2]
        little = dataset.original_encoding[1] is not False
        return np.frombuffer(content, dtype="<u2" if little else ">u2").astype(np.uint16)
    try:
        return (np.array(values, dtype=np.int64) & 0xFFFF).astype(np.uint16)
    except (ValueError, TypeError, OverflowError):
        raise _damaged(f"its {name} is not a number") from None


def _damaged(detail: str) -> Refusal:
    return Refusal(f"is a damaged DICOM file ({detail})", FETCH_AGAIN)
