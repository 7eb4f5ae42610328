"""Define what the decoders share: size limits, the refusal, and the decoded image."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

PHANTOM_COMMENT = "Synthetic chest radiograph (phantom); shows no patient"
MIN_SIDE = 32
MAX_PIXELS = 50_000_000  # the largest detectors deliver about 4300 x 4300; stitched images about 30 million
AS_GREY = "save it as an 8-bit grey JPEG or PNG, or give the original DICOM file"
FETCH_AGAIN = "fetch or export it again"


class Refusal(Exception):
    """Why a file's bytes are not a usable radiograph, and the remedy; the caller adds the file's name."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason, remedy)
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True)
class Decoded:
    """An upright 8-bit grey image, possibly reduced, with the size and encoding of the original."""

    image: Image.Image
    width: int
    height: int
    encoding: str
    phantom: bool


@contextmanager
def decoding(container: str) -> Iterator[None]:
    """Turn any exception of a decoder into a refusal; the original error becomes its cause."""
    try:
        yield
    except (Refusal, MemoryError):
        raise
    except Exception as error:
        # Pillow's message on an unknown file is a memory address; pydicom's messages have several lines.
        text = "" if isinstance(error, UnidentifiedImageError) else " ".join(str(error).split())
        detail = f" ({textwrap.shorten(text, 160)})" if text else ""
        raise Refusal(f"is a truncated or damaged {container} file{detail}", FETCH_AGAIN) from error


def check_size(width: int, height: int) -> None:
    """Refuse sizes that no radiograph has, from the header's numbers, before any pixel is decoded."""
    if width * height > MAX_PIXELS:
        raise Refusal(
            f"declares {width}x{height} pixels, more than the limit of {MAX_PIXELS:,} (a decompression bomb?)",
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
