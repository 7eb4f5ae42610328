"""What the decoders share: the limits, the refusal, and what a decoded film is."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

PHANTOM_COMMENT = "Synthetic chest radiograph (phantom); shows no patient"
MIN_SIDE = 32
MAX_PIXELS = 50_000_000  # the largest detectors deliver about 4300 x 4300; stitched films about 30 million
AS_GREY = "save it as an 8-bit grey JPEG or PNG, or give the original DICOM file"
FETCH_AGAIN = "fetch or export it again"


class Refusal(Exception):
    """Why the bytes at hand are no usable radiograph, and what to do; the caller knows the file's name."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason, remedy)
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True)
class Decoded:
    """A decoded film: an upright 8-bit grey image, perhaps reduced, and what is known of the original."""

    image: Image.Image
    width: int
    height: int
    encoding: str
    phantom: bool


@contextmanager
def decoding(container: str) -> Iterator[None]:
    """Turn whatever a decoder raises on damaged bytes into a refusal; the original error stays its cause."""
    try:
        yield
    except (Refusal, MemoryError):
        raise
    except Exception as error:
        # Pillow's message on an unknown file is an address in memory; pydicom's run over several lines.
        text = "" if isinstance(error, UnidentifiedImageError) else " ".join(str(error).split())
        detail = f" ({textwrap.shorten(text, 160)})" if text else ""
        raise Refusal(f"is a truncated or damaged {container} file{detail}", FETCH_AGAIN) from error


def check_size(width: int, height: int) -> None:
    """Refuse sizes that no radiograph has; called with a header's figures, before any pixel is decoded."""
    if width * height > MAX_PIXELS:
        raise Refusal(
            f"declares {width}x{height} pixels, more than the limit of {MAX_PIXELS:,} (a decompression bomb?)",
            "reduce it if it is a radiograph, otherwise remove it",
        )
    if min(width, height) < MIN_SIDE:
        raise Refusal(
            f"is {width}x{height} pixels, smaller than {MIN_SIDE} a side", "give the film itself, not a thumbnail of it"
        )


def is_phantom(comment: object) -> bool:
    """Whether a comment found in a file says that it is synthetic."""
    text = comment.decode("latin-1") if isinstance(comment, bytes) else str(comment or "")
    return text.startswith(PHANTOM_COMMENT)
