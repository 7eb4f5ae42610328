"""Transform stored values to display values, as DICOM PS3.4, N.2 orders it: modality, VOI, presentation."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from pneumonia.imaging.dicom_elements import as_signed, reals, text, words
from pneumonia.imaging.lookup_table import read_table
from pneumonia.imaging.refusal import FETCH_AGAIN, Refusal
from pneumonia.imaging.value_range import count_values, look_up, robust_range

Values = NDArray[np.float64]
Counts = NDArray[np.int64]

_EXPORT = "export it again with valid display settings"
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True)
class Cells:
    """A grey image as it is stored.

    Attributes:
        samples: uint8 or uint16 [H, W], as decoded, with whatever lies in unused bits.
        filled: bits of a sample that hold something; fewer than its size for a codestream of 12 bits.
    """

    samples: NDArray[np.unsignedinteger[Any]]
    filled: int


def display(dataset: Dataset, cells: Cells) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Return display values uint8 [H, W], and notes on what the file left open or contradicts.

    Each step is computed once for each of the 256 or 65,536 patterns that a sample can have.

    Raises:
        Refusal: the bits, the rescale, the window or a table are invalid.
    """
    notes: list[str] = []
    samples = cells.samples
    counts: Counts = count_values(samples)
    stored = stored_values(dataset, cells, len(counts), notes, counts)
    padding = _padding(dataset, stored, len(counts))
    inside = np.where(padding, 0, counts) if counts[~padding].any() else counts
    unit = _voi(dataset, _modality(dataset, stored, inside), stored, inside, notes)
    if _is_inverted(dataset, notes):
        unit = 1 - unit
    unit[padding] = 0
    table = np.rint(np.clip(unit, 0, 1) * 255).astype(np.uint8)
    return look_up(table, samples), tuple(notes)


def stored_values(dataset: Dataset, cells: Cells, patterns: int, notes: list[str], counts: Counts) -> NDArray[np.int64]:
    """Return the stored value of every pattern: shifted, masked and signed (DICOM PS3.5, 8.1.1)."""
    stored = int(dataset.BitsStored)
    high = dataset.get("HighBit")
    high = stored - 1 if high is None else int(high)
    if not 0 < stored <= high + 1 <= dataset.BitsAllocated:
        detail = f"it stores {stored} of {dataset.BitsAllocated} bits with the high bit {high}"
        raise Refusal(f"is a damaged DICOM file ({detail})", FETCH_AGAIN)
    shift = high + 1 - stored if cells.filled > high else 0  # a codestream may have dropped the empty low bits
    bits = min(stored, cells.filled - shift)
    numbers = np.arange(patterns)
    if cells.filled < dataset.BitsAllocated and bits < cells.filled and counts[1 << (bits + shift) :].any():
        notes.append(f"its compressed pixels have more than the {stored} bits that it declares; those were left out")
    values = (numbers >> shift) & ((1 << bits) - 1)
    if dataset.PixelRepresentation == 1:
        values = np.where(values >> (bits - 1) & 1, values - (1 << bits), values)
    return values


def _padding(dataset: Dataset, stored: NDArray[np.int64], patterns: int) -> NDArray[np.bool_]:
    """Return which patterns are padding (PS3.3, C.7.5.1.1.2), read in the pixels' own width and sign."""
    limits = [*words(dataset, "PixelPaddingValue")[:1]]
    if not limits:
        return np.zeros(patterns, dtype=bool)
    limits += words(dataset, "PixelPaddingRangeLimit")[:1]
    signed = dataset.PixelRepresentation == 1
    own = [_in_stored_bits(word, int(dataset.BitsStored), signed) for word in limits]
    known = [value for value in own if value is not None]
    if len(known) == len(limits):
        return np.asarray((stored >= min(known)) & (stored <= max(known)))
    if dataset.BitsAllocated < 16:
        return np.zeros(patterns, dtype=bool)  # no pixel can have it
    # Outside what the stored bits can hold, some writers fill the whole cell.
    whole = np.arange(patterns)
    if signed:
        whole, limits = np.where(whole >> 15 & 1, whole - 2**16, whole), [as_signed(word) for word in limits]
    return np.asarray((whole >= min(limits)) & (whole <= max(limits)))


def _in_stored_bits(word: int, bits: int, signed: bool) -> int | None:
    """Return the stored value that 16 bits mean, None where it does not fit into the stored bits."""
    above = word >> bits
    if above == 0 or (above == 0xFFFF >> bits and (signed or bits == 8)):
        low = word & ((1 << bits) - 1)
        return as_signed(low, bits) if signed else low
    return None


def _modality(dataset: Dataset, stored: NDArray[np.int64], counts: Counts) -> Values:
    """Apply the modality LUT, or else slope and intercept, which are 1 and 0 where they are empty (C.11.1)."""
    values = stored.astype(np.float64)
    table = read_table(dataset, "ModalityLUTSequence")
    if table is not None:
        return table.apply(values, counts, signed=dataset.PixelRepresentation == 1)
    slope, intercept = (next(iter(reals(dataset, name)), None) for name in ("RescaleSlope", "RescaleIntercept"))
    if slope == 0:
        raise Refusal("has a rescale slope of 0, which shows nothing", _EXPORT)
    with np.errstate(over="ignore", invalid="ignore"):
        rescaled = values * (1 if slope is None else slope) + (0 if intercept is None else intercept)
    if not np.isfinite(rescaled).all():
        raise Refusal("has a rescale slope or intercept that is too large to be shown", _EXPORT)
    return np.asarray(rescaled)


def _voi(dataset: Dataset, values: Values, stored: NDArray[np.int64], counts: Counts, notes: list[str]) -> Values:
    """Map the values of every pattern to 0 (darkest) .. 1, not yet clipped: VOI LUT, or else window, or else range."""
    table = read_table(dataset, "VOILUTSequence")
    if table is not None:
        low, high, note = table.output_range()
        notes += [note] if note else []
        return (table.apply(values, counts, signed=bool(values.min() < 0)) - low) / max(high - low, 1)
    window = _window(dataset, notes)
    if window is not None:
        return window.apply(values)
    if "SharedFunctionalGroupsSequence" in dataset:
        notes.append("its display settings lie in functional groups, which are not read; its own range is shown")
    if dataset.BitsStored == 8 and dataset.PixelRepresentation == 0:
        low, high = float(values[(stored == 0) | (stored == 255)].min()), float(values[stored <= 255].max())
        low, high = min(low, high), max(low, high)
    else:
        low, high = robust_range(values, counts, notes)
    return (values - low) / max(high - low, 1e-6)


@dataclass(frozen=True)
class _Window:
    center: float
    width: float
    function: str

    @np.errstate(over="ignore")  # infinite values are black or white
    def apply(self, values: Values) -> Values:
        """Map values onto 0..1 (PS3.3, C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2)."""
        center, width = self.center, self.width
        if self.function == "SIGMOID":
            return np.asarray(1 / (1 + np.exp((-4 * (values - center) / width).clip(-80, 80))))
        if self.function == "LINEAR":
            center, width = center - 0.5, width - 1
        if width == 0:  # a threshold
            return (values > center).astype(np.float64)
        return np.asarray((values - center) / width + 0.5)


def _window(dataset: Dataset, notes: list[str]) -> _Window | None:
    """Return the first usable window, None where each is empty.

    Raises:
        Refusal: there are windows, and none shows anything; or their function is unknown.
    """
    pairs = list(zip_longest(reals(dataset, "WindowCenter"), reals(dataset, "WindowWidth")))
    given = [(center, width) for center, width in pairs if center is not None and width is not None]
    if not given:
        return None
    function = text(dataset, "VOILUTFunction") or _FUNCTIONS[0]
    if function not in _FUNCTIONS:
        raise Refusal(f"has a window of an unknown function, {function[:20]}", _EXPORT)
    narrowest = 1.0 if function == "LINEAR" else 0.0
    usable = [pair for pair in given if pair[1] >= narrowest and pair[1] > 0]
    if not usable:
        raise Refusal(f"has a window {given[0][1]:g} wide, which shows nothing", _EXPORT)
    if usable[0] != pairs[0]:
        notes.append(f"its window {pairs.index(usable[0]) + 1} is shown, since none before it is valid")
    return _Window(*usable[0], function)


def _is_inverted(dataset: Dataset, notes: list[str]) -> bool:
    """Return whether the lowest value is white (PS3.3, C.7.6.3.1.2 and C.11.6).

    The presentation LUT's shape is the later transformation, and goes before the photometric interpretation where they
    contradict each other, as in DCMTK.
    """
    kind = text(dataset, "PhotometricInterpretation")
    shape = text(dataset, "PresentationLUTShape")
    if shape not in ("IDENTITY", "INVERSE"):
        return kind == "MONOCHROME1"
    if (shape == "INVERSE") != (kind == "MONOCHROME1"):
        notes.append(f"its presentation LUT shape {shape} contradicts {kind}, and is followed")
    return shape == "INVERSE"
