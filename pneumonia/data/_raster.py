"""JPEG and PNG: what is checked in the bytes before a decoder sees them, and the decoding itself."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass

from PIL import Image, ImageOps

PHANTOM_COMMENT = "Synthetic chest radiograph (phantom); shows no patient"
MIN_SIDE = 32
MAX_PIXELS = 50_000_000  # the largest detectors deliver about 4300 x 4300; stitched films about 30 million
AS_GREY = "save it as an 8-bit grey JPEG or PNG, or give the original DICOM file"
FETCH_AGAIN = "fetch or export it again"

JPEG_MAGIC = b"\xff\xd8\xff"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = frozenset(range(0xD0, 0xD8)) | {0x01}
_PNG_COLOURS = {0: "L", 2: "RGB", 3: "palette", 4: "grey with transparency", 6: "RGB with transparency"}


class Refusal(Exception):
    """Why the bytes at hand are no usable radiograph, and what to do; the caller knows the file's name."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason, remedy)
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True)
class Decoded:
    """A decoded film: an 8-bit grey image, perhaps reduced, and what is known of the original."""

    image: Image.Image
    width: int
    height: int
    encoding: str
    phantom: bool


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


def decode_jpeg(content: bytes, size: int) -> Decoded:
    """Decode a JPEG to 8-bit grey, scaled while decoding to the smallest size that is at least twice the target."""
    mode = _check_jpeg(content)
    image = _open(content, "JPEG")
    width, height = image.size
    tables = getattr(image, "quantization", {})
    luminance = tables[min(tables)] if tables else [0]
    image.draft("L", (2 * size, 2 * size))
    upright = _load(image)
    return Decoded(
        upright,
        *_upright_size(image, width, height),
        encoding=f"jpeg;{mode};q={sum(luminance) / len(luminance):.1f}",
        phantom=_is_phantom(image.info.get("comment")),
    )


def decode_png(content: bytes) -> Decoded:
    """Decode a PNG to 8-bit grey."""
    mode = _check_png(content)
    image = _open(content, "PNG")
    width, height = image.size
    upright = _load(image)
    return Decoded(
        upright,
        *_upright_size(image, width, height),
        encoding=f"png;{mode};8",
        phantom=_is_phantom(image.info.get("Comment")),
    )


def _open(content: bytes, container: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content), formats=[container])
    except Exception as error:  # a decoder may raise anything on damaged bytes
        raise Refusal(f"is a damaged {container} file ({error})", FETCH_AGAIN) from error
    if getattr(image, "n_frames", 1) != 1:
        raise Refusal(f"is a {container} file with several pictures", f"pick one: {AS_GREY}")
    return image


def _load(image: Image.Image) -> Image.Image:
    """Decode, turn upright as EXIF says, convert to grey."""
    try:
        image.load()
        upright = ImageOps.exif_transpose(image)
        return upright if upright.mode == "L" else upright.convert("L")
    except Exception as error:  # a decoder may raise anything on damaged bytes
        raise Refusal(f"is truncated or damaged ({error})", FETCH_AGAIN) from error


def _upright_size(image: Image.Image, width: int, height: int) -> tuple[int, int]:
    turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    return (height, width) if turned else (width, height)


def _is_phantom(comment: str | bytes | None) -> bool:
    text = comment.decode("latin-1") if isinstance(comment, bytes) else comment or ""
    return text.startswith(PHANTOM_COMMENT)


def _check_jpeg(content: bytes) -> str:
    """Walk the segments up to the first scan; return the mode, "L" or "RGB"."""
    frame = None
    position = 2
    while position + 4 <= len(content):
        if content[position] != 0xFF:
            raise Refusal("is a damaged JPEG file (no marker where one must be)", FETCH_AGAIN)
        marker = content[position + 1]
        if marker == 0xFF or marker in _JPEG_BARE:
            position += 1 if marker == 0xFF else 2
            continue
        if marker in _JPEG_FRAMES:
            frame = content[position + 4 : position + 10]
        if marker == 0xDA:
            break
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    if frame is None or len(frame) < 6 or content.find(b"\xff\xd9", position) < 0:
        raise Refusal("is a truncated JPEG file (its end is missing)", FETCH_AGAIN)
    bits, height, width, components = struct.unpack(">BHHB", frame)
    if bits != 8:
        raise Refusal(f"is a {bits}-bit JPEG file", AS_GREY)
    if components not in (1, 3):
        raise Refusal("is a CMYK JPEG file" if components == 4 else f"has {components} colour channels", AS_GREY)
    check_size(width, height)
    return "L" if components == 1 else "RGB"


def _check_png(content: bytes) -> str:
    """Walk all chunks and their checksums (Pillow leaves those of the pixel data out); return the mode."""
    position, kinds, header = len(PNG_MAGIC), set(), b""
    while not kinds & {b"IEND"}:
        length = int.from_bytes(content[position : position + 4], "big")
        body = content[position + 4 : position + 8 + length]
        checksum = content[position + 8 + length : position + 12 + length]
        if len(body) != length + 4 or len(checksum) != 4:
            raise Refusal("is a truncated PNG file", FETCH_AGAIN)
        if zlib.crc32(body) != int.from_bytes(checksum, "big"):
            raise Refusal("is a damaged PNG file (a checksum does not fit)", FETCH_AGAIN)
        header = header or body[4:]
        kinds.add(body[:4])
        position += 12 + length
    if b"IHDR" not in kinds or len(header) != 13:
        raise Refusal("is a damaged PNG file (no header)", FETCH_AGAIN)
    width, height, bits, colour = struct.unpack(">IIBB", header[:10])
    mode = _PNG_COLOURS.get(colour, f"colour type {colour}")
    if b"acTL" in kinds:
        raise Refusal("is an animated PNG file", f"pick one picture: {AS_GREY}")
    if b"tRNS" in kinds and mode in ("L", "RGB"):
        mode += " with transparency"
    if mode not in ("L", "RGB"):
        raise Refusal(f"is a PNG file with {mode} pixels", AS_GREY)
    if bits != 8:
        raise Refusal(f"is a {bits}-bit PNG file", AS_GREY)
    check_size(width, height)
    return mode
