"""Read the lookup tables of DICOM images (PS3.3, C.11.1 and C.11.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from pneumonia.imaging.dicom_elements import as_signed, as_words, damaged, values, words

_MOST = 2**16


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
        raise damaged(f"its {name} is no sequence")
    tables = (_read_item(item, name) for item in sequence)
    return next((table for table in tables if table is not None), None)


def _read_item(item: Dataset, name: str) -> LookupTable | None:
    raw = item.get_item("LUTData") if "LUTData" in item else None
    if isinstance(raw, RawDataElement) and raw.value is not None and len(raw.value) > 2 * _MOST:
        raise damaged(f"its {name} holds more than {_MOST:,} entries")
    descriptor = words(item, "LUTDescriptor")
    data = values(item, "LUTData")
    if not descriptor and not data:
        return None
    if len(descriptor) != 3 or not data:
        raise damaged(f"its {name} is incomplete")
    count, first, bits = descriptor[0] or _MOST, descriptor[1], descriptor[2]
    entries = as_words(data, item, "LUTData")
    if bits <= 8 and len(entries) == (count + 1) // 2 and count > 1:  # two entries a word, the first one low
        entries = entries.astype("<u2").view(np.uint8).astype(np.uint16)
    if len(entries) < count:
        raise damaged(f"its {name} has {len(entries):,} of {count:,} entries")
    return LookupTable(first, bits, entries[:count])
