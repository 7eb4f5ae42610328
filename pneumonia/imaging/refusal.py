"""Define what the decoders share: size limits, the refusal, and the decoded image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image

PHANTOM_COMMENT = "Synthetic chest radiograph (phantom); shows no patient"
MIN_SIDE = 32
MAX_PIXELS = 50_000_000  # the largest detectors deliver about 4300 x 4300; stitched images about 30 million
AS_GREY = "save it as an 8-bit grey JPEG or PNG, or give the original DICOM file"
FETCH_AGAIN = "fetch or export it again"


class Refusal(Exception):
    """Why a file's bytes are not a usable radiograph, and the remedy; the caller adds the file's name.

    What a reason quotes of a file may hold anything, and would move a terminal's cursor: it is made printable.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        reason = "".join(letter if letter.isprintable() else "?" for letter in reason)
        super().__init__(reason, remedy)
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True)
class Decoded:
    """An upright 8-bit grey image, possibly reduced, with the size and encoding of the original.

    Attributes:
        notes: what the file left open or contradicts, and how it was read; empty for nearly all files.
    """

    image: Image.Image
    width: int
    height: int
    encoding: str
    phantom: bool
    notes: tuple[str, ...] = ()


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
        )
    if min(width, height) < MIN_SIDE:
        raise Refusal(
            f"is {width}x{height} pixels, smaller than {MIN_SIDE} a side",
            "give the image itself, not a thumbnail of it",
        )


def is_phantom(comment: object) -> bool:
    """Return whether a file's comment declares it synthetic."""
    text = comment.decode("latin-1") if isinstance(comment, bytes) else str(comment or "")
    return text.startswith(PHANTOM_COMMENT)
