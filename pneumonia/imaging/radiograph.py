"""Read a radiograph from a file to pixels; training, scoring and serving use nothing else."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumonia.config.schema import PreprocessConfig
from pneumonia.errors import DataError
from pneumonia.imaging.preprocessing import equalize, resize
from pneumonia.imaging.raster import JPEG_MAGIC, PNG_MAGIC, decode_jpeg, decode_png
from pneumonia.imaging.refusal import FETCH_AGAIN, MAX_PIXELS, Code, Decoded, DicomAttributes, Refusal

MAX_BYTES = 256 * 2**20
DICOM_WITHIN = 132  # bytes that tell whether a file is DICOM
_FOREIGN = {
    b"GIF8": "a GIF", b"BM": "a BMP", b"II*\0": "a TIFF", b"MM\0*": "a TIFF", b"RIFF": "a WebP or other RIFF",
    b"%PDF": "a PDF", b"PK\3\4": "a zip", b"\x1f\x8b": "a gzip", b"\0\0\0\x0cjP  ": "a JPEG 2000",
    b"<!DOCTYPE": "an HTML", b"<!doctype": "an HTML", b"<html": "an HTML",
    b"version https://git-lfs": "a Git LFS pointer", b"\xc3\xbf\xc3\x98": "a JPEG, re-encoded as text, or another text",
}  # fmt: skip
_META = re.compile(rb"\x02\0[\0-\x16]\0(?:UL|OB|UI|SH)")  # of a DICOM file without its preamble
_BARE = re.compile(rb"\x08\0[\0\1\5\x08\x12-\x14\x16\x18]\0(?:[A-Z]{2}|[\0-\xfe]\0\0\0)", re.DOTALL)  # without any


class UnreadableRadiograph(DataError):
    """A file that is not a usable radiograph.

    Attributes:
        path: the file's name as it was given.
        reason: what is wrong.
        remedy: what to do.
        code: why, of the closed list `pneumonia.imaging.refusal.Code`.
    """

    def __init__(self, path: str, reason: str, remedy: str, code: Code = "unreadable") -> None:
        super().__init__(path, reason, remedy, code)
        self.path = path
        self.reason = reason
        self.remedy = remedy
        self.code: Code = code

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}; {self.remedy}"


@dataclass(frozen=True)
class Radiograph:
    """An image ready for the network.

    Attributes:
        pixels: uint8 [size, size].
        levels: uint8 [size, size], the same before any equalisation.
        width: of the original, upright, pixels.
        height: of the original, upright, pixels.
        encoding: container, mode or bits, and for JPEG the mean of the luminance quantisation table.
        phantom: the file's comment declares it synthetic.
        notes: what the file left open or contradicts, and how it was read; empty for nearly all files.
        coloured: share of the pixels that are coloured, 0 to 1; training reads such pictures as grey, the service
            refuses them.
        attributes: what a DICOM file says about its image, for the service; None for other files.
    """

    pixels: NDArray[np.uint8]
    levels: NDArray[np.uint8]
    width: int
    height: int
    encoding: str
    phantom: bool
    notes: tuple[str, ...] = ()
    coloured: float = 0.0
    attributes: DicomAttributes | None = None


def read(path: Path | str, preprocess: PreprocessConfig) -> Radiograph:
    """Read a radiograph from a file.

    Raises:
        UnreadableRadiograph: see `read_bytes`; also a missing file, a folder, no permission.
    """
    return read_bytes(load(path), preprocess, name=str(path))


def load(path: Path | str) -> bytes:
    """Return a file's content; refuse, without reading it, anything but a regular file of at most `MAX_BYTES`."""
    try:
        status = os.stat(path)  # noqa: PTH116
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableRadiograph(str(path), "is not a file", "name a JPEG, PNG or DICOM file")
        if status.st_size > MAX_BYTES:
            reason = f"is {status.st_size / 2**20:.0f} MiB, more than the limit of {MAX_BYTES // 2**20}"
            remedy = "reduce it if it is a radiograph, otherwise remove it"
            raise UnreadableRadiograph(str(path), reason, remedy, "too_large")
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise UnreadableRadiograph(str(path), "does not exist", "check the name") from None
    except PermissionError:
        raise UnreadableRadiograph(str(path), "may not be read", "grant read permission (chmod u+r)") from None
    except OSError as error:
        detail = error.strerror or "the disk gave no reason"
        raise UnreadableRadiograph(str(path), f"cannot be read ({detail})", "check the name and the disk") from error
    except ValueError as error:  # a null in the name
        raise UnreadableRadiograph(
            str(path), "cannot be read (no file can have this name)", "check the name"
        ) from error


def read_bytes(
    content: bytes, preprocess: PreprocessConfig, name: str = "<bytes>", max_pixels: int = MAX_PIXELS
) -> Radiograph:
    """Decode a JPEG, PNG or DICOM file's content, recognised by its first bytes, to grey pixels of the configured size.

    The aspect ratio is not kept; reduction is antialiased bilinear. A JPEG is scaled while it is decoded to no less
    than twice the target, which takes a fraction of the time and changes pixels by rounding. An image of more than
    `max_pixels` pixels is refused by its header, before any of them is decoded.

    Raises:
        UnreadableRadiograph: not an image of these kinds; truncated or damaged; CMYK, transparent or animated; of less
            than 8 bits, or 16 in colour; too large or too small; a single grey level; DICOM without pixels, with
            several frames, in colour, with invalid display settings or in a transfer syntax that is not read.
    """
    try:
        decoded = _decode(content, preprocess.size, max_pixels)
        levels = resize(decoded.image, preprocess.size)
    except Refusal as refusal:
        raise UnreadableRadiograph(name, refusal.reason, refusal.remedy, refusal.code) from refusal.__cause__
    pixels = equalize(levels) if preprocess.equalize else levels
    return Radiograph(
        pixels,
        levels,
        decoded.width,
        decoded.height,
        decoded.encoding,
        decoded.phantom,
        decoded.notes,
        decoded.coloured,
        decoded.attributes,
    )


def is_dicom(content: bytes) -> bool:
    """Return whether a file is DICOM, also without its preamble or meta information, from its first bytes.

    Args:
        content: `DICOM_WITHIN` bytes, or more, or all that there are.
    """
    return content[128:DICOM_WITHIN] == b"DICM" or bool(_META.match(content) or _BARE.match(content))


def library_versions() -> tuple[str, ...]:
    """Return the libraries that decode: another version, or one that was installed since, gives other pixels."""
    versions = []
    for name in ("pillow", "pydicom", "imagecodecs"):
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:  # the extra of DICOM's rarer transfer syntaxes
            versions.append(f"no {name}")
    return tuple(versions)


def _decode(content: bytes, size: int, max_pixels: int) -> Decoded:
    if not content:
        raise Refusal("is empty (zero bytes)", FETCH_AGAIN)
    if content.startswith(JPEG_MAGIC):
        return decode_jpeg(content, size, max_pixels)
    if content.startswith(PNG_MAGIC):
        return decode_png(content, max_pixels)
    if is_dicom(content):
        from pneumonia.imaging.dicom import decode_dicom  # half a second that JPEG sets do not need

        return decode_dicom(content, max_pixels)
    kind = next((name for magic, name in _FOREIGN.items() if content.startswith(magic)), None)
    found = f"is {kind} file, which is not supported" if kind else "is not an image of a supported kind"
    raise Refusal(f"{found} (JPEG, PNG and DICOM are)", "convert or remove it")
