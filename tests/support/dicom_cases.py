"""Small DICOM images, one trait of the standard or of a vendor's files each, whose right picture is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from tests.support.images import dicom

HEIGHT, WIDTH = 32, 48
WIDE = {"BitsStored": 12, "HighBit": 11}
WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}


def _scene() -> NDArray[np.uint16]:
    """Smooth values of 12 bits that reach 0 and 4095, uint16 [HEIGHT, WIDTH]."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    shade = 0.7 * x / (WIDTH - 1) + 0.3 * np.sin(y / 5) ** 2
    return np.rint((shade - shade.min()) / np.ptp(shade) * 4095).astype(np.uint16)


SCENE = _scene()
SIGNED = (SCENE.astype(np.int32) - 2048).astype(np.int16)
EIGHT = (SCENE // 16).astype(np.uint8)
FULL = SCENE / 4095
"""What the scene shows over its full range, 0..1."""


@dataclass(frozen=True)
class Case:
    """An image, what it shows, and how DCMTK is to show it.

    Attributes:
        content: the file.
        shows: float [H, W], 0 (black) .. 1.
        dcmtk: options of dcm2pnm, by which DCMTK shows the same; empty where it does not.
        apart: why it does not.
        noted: the decoder reports something.
    """

    content: bytes
    shows: NDArray[np.float64] = field(default_factory=lambda: FULL)
    dcmtk: str = "+Wi 1"
    apart: str = ""
    noted: bool = False


def lut(entries: Any, first: int = 0, bits: int = 16, kind: str = "US", count: int | None = None) -> Dataset:
    """An item of a sequence of lookup tables; the count is that of the entries, 0 for 65536."""
    table = Dataset()
    number = len(entries) if count is None else count
    table.add_new("LUTDescriptor", "SS" if first < 0 else "US", [number % 65536, first, bits])
    table.add_new("LUTData", kind, entries)
    return table


def wide(stored: NDArray[Any] = SCENE, syntax: Any = None, **elements: Any) -> bytes:
    """An image of 12 stored bits."""
    place = () if syntax is None else (syntax,)
    return dicom(stored, *place, **(WIDE | elements))


def words(values: Any) -> bytes:
    return np.asarray(values).astype("<u2").tobytes()


STEPS = np.arange(4096)
TO_16 = np.rint(STEPS * 65535 / 4095).astype(int)
TO_8 = np.rint(STEPS * 255 / 4095).astype(np.uint8)
SQUARED = (STEPS / 4095) ** 2
OVERLAID = SCENE.copy()
OVERLAID[4:9, 5:30] |= 0xF000
STRAY = SCENE.copy()
STRAY[3, 7] = 65535
SHOWN_STRAY = np.where(STRAY == 65535, 1, FULL)
STRIP = np.zeros((HEIGHT, WIDTH), dtype=bool)
STRIP[:, 20:26] = True


def padded(stored: NDArray[Any], value: int) -> NDArray[Any]:
    return np.where(STRIP, value, stored).astype(stored.dtype)


def window(center: float, width: float) -> NDArray[np.float64]:
    """LINEAR, DICOM PS3.3, C.11.2.1.2.1."""
    return np.clip((SCENE - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def typed(kind: str, value: Any) -> DataElement:
    """A padding value of another type than the pixels'."""
    return DataElement("PixelPaddingValue", kind, value)


BLACK = np.where(STRIP, 0, FULL)
AS_IT_IS = ("", "DCMTK shows padding as it is, and counts it in the range")
BY_VALUES = "DCMTK's range includes the stray pixel"

CASES: dict[str, Case] = {
    # --- the image pixel module
    "explicit": Case(wide(**WINDOW)),
    "implicit": Case(wide(syntax=ImplicitVRLittleEndian, **WINDOW)),
    "big endian": Case(wide(SCENE.byteswap(), ExplicitVRBigEndian, **WINDOW)),
    "deflated": Case(wide(syntax=DeflatedExplicitVRLittleEndian, **WINDOW)),
    "run lengths": Case(wide(syntax=RLELossless, **WINDOW)),
    "signed": Case(wide(SIGNED, WindowCenter=0, WindowWidth=4096)),
    "signed, of 12 bits without their sign above": Case(
        wide((SIGNED.view(np.uint16) & 0xFFF).astype(np.int16), WindowCenter=0, WindowWidth=4096)
    ),
    "high bit 15": Case(wide((SCENE << 4).astype(np.uint16), HighBit=15, **WINDOW)),
    "high bit 13": Case(wide((SCENE << 2).astype(np.uint16), HighBit=13, **WINDOW)),
    "high bit 15, signed": Case(
        wide((SIGNED << 4).astype(np.int16), HighBit=15, WindowCenter=0, WindowWidth=4096)
    ),
    "high bit 15, run lengths": Case(wide((SCENE << 4).astype(np.uint16), RLELossless, HighBit=15, **WINDOW)),
    "overlay in high bits": Case(wide(OVERLAID, **WINDOW)),
    "overlay in high bits, no window": Case(wide(OVERLAID), dcmtk="+Wm"),
    "8 bits": Case(dicom(EIGHT), EIGHT / 255, "-W"),
    "8 bits in 16": Case(dicom(EIGHT.astype(np.uint16), BitsStored=8, HighBit=7), EIGHT / 255, "-W"),
    "MONOCHROME1": Case(wide(PhotometricInterpretation="MONOCHROME1", **WINDOW), 1 - FULL),
    "MONOCHROME1, negative slope": Case(
        wide(PhotometricInterpretation="MONOCHROME1", RescaleSlope=-1, RescaleIntercept=4095, **WINDOW)
    ),
    "kind in lower case with a space": Case(wide(PhotometricInterpretation="monochrome2 ", **WINDOW)),
    "frames 0": Case(wide(NumberOfFrames="0", **WINDOW)),
    "frames empty": Case(wide(NumberOfFrames="", **WINDOW)),
    "no high bit": Case(wide(HighBit=None, **WINDOW)),
    # --- presentation
    "INVERSE": Case(wide(PresentationLUTShape="INVERSE", **WINDOW), 1 - FULL, noted=True),
    "MONOCHROME1, INVERSE": Case(
        wide(PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE", **WINDOW), 1 - FULL
    ),
    "MONOCHROME1, IDENTITY": Case(
        wide(PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="IDENTITY", **WINDOW), noted=True
    ),
    # --- modality
    "rescale": Case(wide(RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=3096, WindowWidth=8192)),
    "rescale empty": Case(wide(RescaleSlope="", RescaleIntercept="", **WINDOW)),
    "slope without intercept": Case(wide(RescaleSlope=1, **WINDOW)),
    "modality table": Case(
        wide(ModalityLUTSequence=[lut(words(4095 - STEPS), bits=16, kind="OW", count=4096)], **WINDOW), 1 - FULL
    ),
    "modality table, signed pixels": Case(
        wide(SIGNED, ModalityLUTSequence=[lut(words(STEPS), -2048, 16, "OW", 4096)], **WINDOW)
    ),
    "modality table, empty item": Case(wide(ModalityLUTSequence=[Dataset()], **WINDOW)),
    # --- VOI tables
    "table of 16 bits": Case(wide(VOILUTSequence=[lut(words(TO_16), kind="OW", count=4096)]), dcmtk="+Wl 1"),
    "table of 12 bits": Case(wide(VOILUTSequence=[lut(list(map(int, STEPS)), bits=12)]), dcmtk="+Wl 1"),
    "table of 12 bits that declares 16": Case(
        wide(VOILUTSequence=[lut(words(STEPS), kind="OW", count=4096)]), dcmtk="+Wl 1 +Mv", noted=True
    ),
    "table of 16 bits that declares 12": Case(
        wide(VOILUTSequence=[lut(words(TO_16), bits=12, kind="OW", count=4096)]), dcmtk="+Wl 1 +Mv", noted=True
    ),
    "table of 8 bits, two a word": Case(
        wide(VOILUTSequence=[lut(TO_8.tobytes(), bits=8, kind="OW", count=4096)]), dcmtk="+Wl 1"
    ),
    "table of 8 bits, one a word": Case(
        wide(VOILUTSequence=[lut(words(TO_8), bits=8, kind="OW", count=4096)]), dcmtk="+Wl 1"
    ),
    "table of 8 bits, two a word, as numbers": Case(
        wide(VOILUTSequence=[lut([int(word) for word in TO_8.view("<u2")], bits=8, count=4096)]), dcmtk="+Wl 1"
    ),
    "table of 65536 entries": Case(
        dicom((SCENE * 16).astype(np.uint16), VOILUTSequence=[lut(words(np.arange(65536)), kind="OW", count=0)]),
        SCENE * 16 / 65535,
        "+Wl 1",
    ),
    "table, implicit": Case(
        wide(SIGNED, ImplicitVRLittleEndian, VOILUTSequence=[lut(words(TO_16), -2048, 16, "OW", 4096)]),
        dcmtk="+Wl 1",
    ),
    "table, big endian": Case(
        wide(
            SCENE.byteswap(),
            ExplicitVRBigEndian,
            VOILUTSequence=[lut(TO_16.astype(">u2").tobytes(), kind="OW", count=4096)],
        ),
        dcmtk="+Wl 1",
    ),
    "table of 8 bits, two a word, big endian": Case(
        wide(
            SCENE.byteswap(),
            ExplicitVRBigEndian,
            VOILUTSequence=[lut(TO_8.view("<u2").astype(">u2").tobytes(), bits=8, kind="OW", count=4096)],
        ),
        dcmtk="+Wl 1",
    ),
    "table from a negative value on": Case(
        wide(SIGNED, VOILUTSequence=[lut(words(TO_16), -2048, 16, "OW", 4096)]), dcmtk="+Wl 1"
    ),
    "table from a negative value on, written as unsigned": Case(
        wide(SIGNED, VOILUTSequence=[lut(words(TO_16), 65536 - 2048, 16, "OW", 4096)]), dcmtk="+Wl 1"
    ),
    "table from 40000 on": Case(
        dicom(SCENE + np.uint16(40_000), VOILUTSequence=[lut(words(TO_16), 40_000, 16, "OW", 4096)]), dcmtk="+Wl 1"
    ),
    "table after a rescale below zero": Case(
        wide(RescaleSlope=1, RescaleIntercept=-1024, VOILUTSequence=[lut(words(TO_16), -1024, 16, "OW", 4096)]),
        dcmtk="+Wl 1",
    ),
    "table from 40000 on, after a rescale below zero": Case(
        dicom(
            SCENE + np.uint16(41_000),
            RescaleSlope=1,
            RescaleIntercept=-1000,
            VOILUTSequence=[lut(words(TO_16), 40_000, 16, "OW", 4096)],
        ),
        dcmtk="",
        apart="DCMTK takes the first value mapped for negative",
    ),
    "table with entries too many": Case(
        wide(VOILUTSequence=[lut(words([*TO_16, 0, 0, 0]), kind="OW", count=4096)]), dcmtk="+Wl 1"
    ),
    "table of 8 bits, two a word, an odd number": Case(
        wide(
            np.minimum(SCENE, 4094),
            VOILUTSequence=[lut(TO_8[:4095].tobytes() + b"\0", bits=8, kind="OW", count=4095)],
        ),
        TO_8[np.minimum(SCENE, 4094)] / 255,
        dcmtk="+Wl 1",
    ),
    "table before a window": Case(
        wide(VOILUTSequence=[lut(words(np.rint(SQUARED * 65535)), kind="OW", count=4096)], **WINDOW),
        SQUARED[SCENE],
        "+Wl 1",
    ),
    "empty table beside a window": Case(wide(VOILUTSequence=[Dataset()], **WINDOW)),
    "empty table before a good one": Case(
        wide(VOILUTSequence=[Dataset(), lut(words(TO_16), kind="OW", count=4096)]), dcmtk="+Wl 2"
    ),
    # --- windows
    "window": Case(wide(WindowCenter=1500, WindowWidth=1000), window(1500, 1000)),
    "function in lower case": Case(
        wide(WindowCenter=1500, WindowWidth=40, VOILUTFunction="linear"), window(1500, 40)
    ),
    "LINEAR_EXACT": Case(
        wide(WindowCenter=1500, WindowWidth=40, VOILUTFunction="linear_exact "),
        np.clip((SCENE - 1500.0) / 40 + 0.5, 0, 1),
        "",
        "DCMTK 3.6.7 does not know LINEAR_EXACT",
    ),
    "SIGMOID": Case(
        wide(WindowCenter=1500, WindowWidth=1000, VOILUTFunction="SIGMOID"),
        1 / (1 + np.exp(-4 * (SCENE - 1500.0) / 1000)),
    ),
    "first window empty": Case(
        wide(WindowCenter=["", "1500"], WindowWidth=["", "1000"]), window(1500, 1000), "+Wi 2", noted=True
    ),
    "first window zero": Case(
        wide(WindowCenter=[0, 1500], WindowWidth=[0, 1000]), window(1500, 1000), "+Wi 2", noted=True
    ),
    "center without width": Case(wide(WindowCenter=2048), dcmtk="+Wm"),
    "no window": Case(wide(), dcmtk="+Wm"),
    "no window, one stray pixel": Case(
        dicom(STRAY), SHOWN_STRAY, "", BY_VALUES, noted=True
    ),
    # --- padding
    "padding": Case(
        wide(padded(SIGNED, -2048), PixelPaddingValue=-2048, WindowCenter=0, WindowWidth=4096), BLACK
    ),
    "padding, MONOCHROME1": Case(
        wide(padded(SCENE, 0), PixelPaddingValue=0, PhotometricInterpretation="MONOCHROME1", **WINDOW),
        np.where(padded(SCENE, 0) == 0, 0, 1 - FULL),
        *AS_IT_IS,
    ),
    "padding, a range": Case(
        dicom(padded(SIGNED, -30_000), PixelPaddingValue=-29_000, PixelPaddingRangeLimit=-31_000), BLACK, *AS_IT_IS
    ),
    "padding, signed beside unsigned pixels": Case(
        dicom(padded(SCENE, 63_536), PixelPaddingValue=typed("SS", -2000)), BLACK, *AS_IT_IS
    ),
    "padding, unsigned beside signed pixels": Case(
        dicom(padded(SIGNED, -32_000), PixelPaddingValue=typed("US", 33_536)), BLACK, *AS_IT_IS
    ),
    "padding, of 12 bits beside signed pixels": Case(
        wide(padded(SIGNED, -2048), PixelPaddingValue=typed("US", 0x800), WindowCenter=0, WindowWidth=4096),
        BLACK,
    ),
    "padding, wider than the stored bits": Case(
        wide(padded(SCENE, 0xF830), PixelPaddingValue=typed("SS", -2000), **WINDOW), BLACK, *AS_IT_IS
    ),
    "padding, wider than the pixels": Case(
        dicom(padded(EIGHT // 2, 255), PixelPaddingValue=typed("SS", -1)),
        np.where(STRIP, 0, EIGHT // 2 / 255),
        *AS_IT_IS,
    ),
    "padding, outside what pixels can be": Case(
        dicom(EIGHT, PixelPaddingValue=typed("US", 256)), EIGHT / 255, "-W"
    ),
    "padding, as bytes": Case(
        dicom(padded(SIGNED, -32_000), PixelPaddingValue=typed("UN", words([33_536]))), BLACK, *AS_IT_IS
    ),
    "padding, implicit": Case(
        dicom(
            padded(SIGNED, -32_000), ImplicitVRLittleEndian, PixelPaddingValue=-32_000, PixelPaddingRangeLimit=-31_990
        ),
        BLACK,
        *AS_IT_IS,
    ),
    "padding, empty": Case(wide(PixelPaddingValue=typed("US", None), **WINDOW)),
}  # fmt: skip
