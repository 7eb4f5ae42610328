"""Check the bytes of JPEG and PNG files, then decode them."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image, ImageOps

from pneumonia.imaging.refusal import AS_GREY, FETCH_AGAIN, Decoded, Refusal, check_size, decoding, is_phantom

JPEG_MAGIC = b"\xff\xd8\xff"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
MAX_SCANS = 100  # progressive encoders write about ten; thousands only occupy the decoder
_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_READ = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})  # sequential and progressive
_JPEG_BARE = frozenset(range(0xD0, 0xD8)) | {0x01}  # markers without a length
_PNG_COLOURS = {0: "L", 2: "RGB", 3: "palette", 4: "grey and transparent", 6: "coloured and transparent"}


def decode_jpeg(content: bytes, size: int) -> Decoded:
    """Decode a JPEG to 8-bit grey, scaled while decoding to the smallest size that is at least twice the target."""
    with decoding("JPEG"):
        mode = _check_jpeg(content)
        image = _open(content, "JPEG")
        width, height = image.size
        tables: dict[int, list[int]] = getattr(image, "quantization", {})
        luminance = tables[min(tables)]
        image.draft("L", (2 * size, 2 * size))
        return Decoded(
            _upright(image),
            *_upright_size(image, width, height),
            encoding=f"jpeg;{mode};q={sum(luminance) / len(luminance):.1f}",
            phantom=is_phantom(image.info.get("comment")),
        )


def decode_png(content: bytes) -> Decoded:
    """Decode a PNG to 8-bit grey."""
    with decoding("PNG"):
        mode = _check_png(content)
        image = _open(content, "PNG")
        width, height = image.size
        return Decoded(
            _upright(image),
            *_upright_size(image, width, height),
            encoding=f"png;{mode};8",
            phantom=is_phantom(image.info.get("Comment")),
        )


def _open(content: bytes, container: str) -> Image.Image:
    image = Image.open(io.BytesIO(content), formats=[container])
    if getattr(image, "n_frames", 1) != 1:
        raise Refusal(f"is a {container} file with several pictures", f"pick one: {AS_GREY}")
    return image


def _upright(image: Image.Image) -> Image.Image:
    """Decode the pixels, rotate them according to EXIF, and convert them to grey."""
    image.load()
    upright = ImageOps.exif_transpose(image)
    return upright if upright.mode == "L" else upright.convert("L")


def _upright_size(image: Image.Image, width: int, height: int) -> tuple[int, int]:
    return (height, width) if image.getexif().get(_ORIENTATION) in _SIDEWAYS else (width, height)


def _check_jpeg(content: bytes) -> str:
    """Check the segments before the first scan and the end marker; return the mode, "L" or "RGB"."""
    kind, frame, scan = _jpeg_frame(content)
    # Pillow fills the missing part of a truncated file with grey in some cases; the end marker is reliable.
    if len(frame) < 6 or content.rfind(b"\xff\xd9", scan) < 0:
        raise Refusal("is a truncated JPEG file (its end is missing)", FETCH_AGAIN)
    bits, height, width, components = struct.unpack(">BHHB", frame)
    if kind not in _JPEG_READ:
        raise Refusal("is a lossless or hierarchical JPEG file", AS_GREY)
    if bits != 8:
        raise Refusal(f"is a {bits}-bit JPEG file", AS_GREY)
    if components not in (1, 3):
        colours = "CMYK pixels" if components == 4 else f"{components} channels"
        raise Refusal(f"is a JPEG file with {colours}", AS_GREY)
    check_size(width, height)
    if content.count(b"\xff\xda", scan) > MAX_SCANS:
        raise Refusal(f"is a JPEG file with more than {MAX_SCANS} scans", AS_GREY)
    return "L" if components == 1 else "RGB"


def _jpeg_frame(content: bytes) -> tuple[int, bytes, int]:
    """Return the frame header's marker and fields, and the offset of the first scan (ITU-T T.81, B.1 and B.2)."""
    kind, frame, position = 0, b"", 2
    while position + 4 <= len(content):
        marker = content[position + 1]
        if content[position] != 0xFF:
            raise Refusal("is a damaged JPEG file (a marker is missing)", FETCH_AGAIN)
        if marker == 0xFF or marker in _JPEG_BARE:
            position += 1 if marker == 0xFF else 2
            continue
        if marker in _JPEG_FRAMES:
            kind, frame = marker, content[position + 4 : position + 10]
        if marker == 0xDA:
            break
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return kind, frame, position


def _check_png(content: bytes) -> str:
    """Check the header and the kinds of chunks; return the mode, "L" or "RGB"."""
    header, kinds = _png_chunks(content)
    if len(header) != 13:
        raise Refusal("is a damaged PNG file (it does not begin with its header)", FETCH_AGAIN)
    width, height, bits, colour = struct.unpack(">IIBB", header[:10])
    mode = _PNG_COLOURS.get(colour, f"colour type {colour}")
    if b"acTL" in kinds:
        raise Refusal("is an animated PNG file", f"pick one picture: {AS_GREY}")
    if mode not in ("L", "RGB"):
        raise Refusal(f"is a PNG file with {mode} pixels", AS_GREY)
    if b"tRNS" in kinds:
        raise Refusal("is a PNG file with a transparent colour", AS_GREY)
    if bits != 8:
        raise Refusal(f"is a {bits}-bit PNG file", AS_GREY)
    check_size(width, height)
    return mode


def _png_chunks(content: bytes) -> tuple[bytes, set[bytes]]:
    """Return the header's fields and the kinds of all chunks, every checksum compared (PNG specification, 5.3).

    Pillow does not check the checksums of the pixel data, and would decode a damaged image without an error.
    """
    position, kinds, header = len(PNG_MAGIC), set[bytes](), b""
    while b"IEND" not in kinds:
        end = position + 8 + int.from_bytes(content[position : position + 4], "big")
        if end + 4 > len(content):
            raise Refusal("is a truncated PNG file (its end is missing)", FETCH_AGAIN)
        body = memoryview(content)[position + 4 : end]
        if zlib.crc32(body) != int.from_bytes(content[end : end + 4], "big"):
            raise Refusal("is a damaged PNG file (a checksum does not fit)", FETCH_AGAIN)
        kind = bytes(body[:4])
        if not kinds and kind == b"IHDR":
            header = bytes(body[4:])
        kinds.add(kind)
        position = end + 4
    return header, kinds
