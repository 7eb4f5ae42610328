"""Define what the decoders share: size limits, the refusal, and the decoded image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from PIL import Image

PHANTOM_COMMENT = "Synthetic chest radiograph (phantom); shows no patient"
MIN_SIDE = 32
MAX_PIXELS = 50_000_000  # the largest detectors deliver about 4300 x 4300; stitched images about 30 million
AS_GREY = "save it as an 8-bit grey JPEG or PNG, or give the original DICOM file"
FETCH_AGAIN = "fetch or export it again"


Code = Literal[
    "unreadable",
    "too_small",
    "too_large",
    "blank",
    "not_a_radiograph",
    "not_frontal_chest",
    "modality",
    "body_part",
    "view",
]
"""Why an image is refused: the closed list of codes, which docs/input_check.md explains."""


class Refusal(Exception):
    """Why a file's bytes are not a usable radiograph, and the remedy; the caller adds the file's name.

    What a reason quotes of a file may hold anything, and would move a terminal's cursor: it is made printable.
    """

    def __init__(self, reason: str, remedy: str, code: Code = "unreadable") -> None:
        reason = "".join(letter if letter.isprintable() else "?" for letter in reason)
        super().__init__(reason, remedy)
        self.reason = reason
        self.remedy = remedy
        self.code: Code = code


@dataclass(frozen=True)
class DicomAttributes:
    """What a DICOM file says about its image, in upper case; empty where it says nothing.

    Attributes:
        storage: SOP Class UID.
        modality: such as CR or DX.
        body_part: Body Part Examined, otherwise the meaning of the anatomic region's code.
        view: View Position, otherwise the meaning of the view's code.
        orientation: directions of rows and of columns, such as L and F.
        age: of the patient in years; a number without a unit, which some archives write, counts as years.
    """

    storage: str = ""
    modality: str = ""
    body_part: str = ""
    view: str = ""
    orientation: tuple[str, ...] = ()
    age: float | None = None


@dataclass(frozen=True)
class Decoded:
    """An upright 8-bit grey image, possibly reduced, with the size and encoding of the original.

    Attributes:
        notes: what the file left open or contradicts, and how it was read; empty for nearly all files.
        coloured: share of the pixels that are coloured (`pneumonia.imaging.colour`).
        attributes: what a DICOM file says about its image; None for other files.
    """

    image: Image.Image
    width: int
    height: int
    encoding: str
    phantom: bool
    notes: tuple[str, ...] = ()
    coloured: float = 0.0
    attributes: DicomAttributes | None = None


@contextmanager
def decoding(container: str) -> Iterator[None]:
    """Turn any exception of a decoder into a refusal; the original error becomes its cause.

    The libraries' messages are about their own code (an operand's type, a memory address), so none is repeated.
    """
    try:
        yield
    except (Refusal, MemoryError):
        raise
    except Exception as error:
        raise Refusal(f"is a truncated or damaged {container} file", FETCH_AGAIN) from error


def check_size(width: int, height: int, max_pixels: int = MAX_PIXELS) -> None:
    """Refuse sizes that no radiograph has, from the header's numbers, before any pixel is decoded."""
    if width * height > max_pixels:
        raise Refusal(
            f"declares {width}x{height} pixels, more than the limit of {max_pixels:,} (a decompression bomb?)",
            "reduce it if it is a radiograph, otherwise remove it",
            "too_large",
        )
    if min(width, height) < MIN_SIDE:
        raise Refusal(
            f"is {width}x{height} pixels, smaller than {MIN_SIDE} a side",
            "give the image itself, not a thumbnail of it",
            "too_small",
        )


def is_phantom(comment: object) -> bool:
    """Return whether a file's comment declares it synthetic."""
    text = comment.decode("latin-1") if isinstance(comment, bytes) else str(comment or "")
    return text.startswith(PHANTOM_COMMENT)
