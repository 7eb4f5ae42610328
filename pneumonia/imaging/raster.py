"""Decode JPEG and PNG files, whose bytes are checked first."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageOps

from pneumonia.imaging.colour import coloured_share
from pneumonia.imaging.jpeg_markers import MAX_SCANS, SEQUENTIAL, FrameHeader, read_header
from pneumonia.imaging.png_chunks import MAGIC as PNG_MAGIC
from pneumonia.imaging.png_chunks import Png, read_chunks
from pneumonia.imaging.refusal import (
    AS_GREY,
    FETCH_AGAIN,
    MAX_PIXELS,
    Decoded,
    Refusal,
    check_size,
    decoding,
    is_phantom,
)
from pneumonia.imaging.value_range import count_values, look_up, robust_range

__all__ = ["JPEG_MAGIC", "PNG_MAGIC", "decode_jpeg", "decode_png"]

JPEG_MAGIC = b"\xff\xd8\xff"
_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)
_PNG_COLOURS = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}
# Pillow warns on standard error of a damaged EXIF block, which it then ignores, as other readers do.
warnings.filterwarnings("ignore", module=r"PIL\.")


def decode_jpeg(content: bytes, size: int, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Decode a JPEG to 8-bit grey, scaled while decoding to the smallest size that is at least twice the target."""
    with decoding("JPEG"):
        header = read_header(content, "JPEG")
        mode = _check_jpeg(header, max_pixels)
        image = _open(content, "JPEG", (header.width, header.height))
        tables: dict[int, list[int]] = getattr(image, "quantization", {})
        luminance = tables[min(tables)]
        upright_size = _upright_size(image, header.width, header.height)
        grey, coloured = _grey_jpeg(image, content, size)
        return Decoded(
            grey,
            *upright_size,
            encoding=f"jpeg;{mode};q={sum(luminance) / len(luminance):.1f}",
            phantom=is_phantom(image.info.get("comment")),
            coloured=coloured,
        )


def decode_png(content: bytes, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Decode a PNG to 8-bit grey; one of 16 bits as `_reduced` says, an opaque one without its transparency."""
    with decoding("PNG"):
        png = read_chunks(content)
        mode = _check_png(png, max_pixels)
        image = _open(png.content, "PNG", (png.width, png.height))
        upright_size = _upright_size(image, png.width, png.height)
        upright = _upright(image)
        grey, notes = _reduced(upright) if png.bits == 16 else (_opaque(upright).convert("L"), ())
        return Decoded(
            grey,
            *upright_size,
            encoding=f"png;{mode};{png.bits}",
            phantom=is_phantom(image.info.get("Comment")),
            notes=notes,
            coloured=0.0 if mode in ("L", "LA") else coloured_share(upright),
        )


def _grey_jpeg(image: Image.Image, content: bytes, size: int) -> tuple[Image.Image, float]:
    """Return a JPEG's luminance, upright and scaled, and the share of its pixels that are coloured.

    The luminance of a picture in colour is the same whether its colour is decoded too or not, except where a file
    stores red, green and blue, of which the decoder makes the luminance: its colour is decoded apart.
    """
    target = (2 * size, 2 * size)
    if image.mode == "L":
        image.draft("L", target)
        return _upright(image), 0.0
    if _stores_rgb(image):
        beside = Image.open(io.BytesIO(content), formats=["JPEG"])
        beside.draft("RGB", target)
        image.draft("L", target)
        return _upright(image).convert("L"), coloured_share(beside)
    image.draft("YCbCr", target)
    upright = _upright(image)
    return upright.getchannel(0), coloured_share(upright)


def _stores_rgb(image: Image.Image) -> bool:
    """Return whether a JPEG stores red, green and blue, by the rules of libjpeg's ``default_decompress_parms``."""
    if "jfif" in image.info:
        return False
    if "adobe_transform" in image.info:
        return bool(image.info["adobe_transform"] == 0)
    return bytes(layer[0] for layer in getattr(image, "layer", ())) == b"RGB"


def _open(content: bytes, container: str, size: tuple[int, int]) -> Image.Image:
    image = Image.open(io.BytesIO(content), formats=[container])
    if image.size != size:  # Pillow goes by a later header, whose size nobody has checked
        raise Refusal(f"is a damaged {container} file (it has two headers)", FETCH_AGAIN)
    if getattr(image, "n_frames", 1) != 1:
        raise Refusal(f"is a {container} file with several pictures", f"pick one: {AS_GREY}")
    return image


def _upright(image: Image.Image) -> Image.Image:
    """Decode the pixels, and rotate them according to EXIF; an image that is upright is not copied."""
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    return image


def _opaque(image: Image.Image) -> Image.Image:
    """Return an image to be converted to grey; refuse one of which a pixel is transparent."""
    if not image.has_transparency_data:
        return image
    if "A" not in image.getbands():  # a transparent colour, or one of the palette
        image = image.convert("RGBA")
    if image.getchannel("A").getextrema() != (255, 255):
        raise Refusal("is a PNG file with transparent pixels", AS_GREY)
    return image


def _upright_size(image: Image.Image, width: int, height: int) -> tuple[int, int]:
    return (height, width) if image.getexif().get(_ORIENTATION) in _SIDEWAYS else (width, height)


def _check_jpeg(header: FrameHeader, max_pixels: int) -> str:
    """Refuse what is not read, and what is not whole; return the mode, "L" or "RGB"."""
    # Pillow fills the missing part of a truncated file with grey in some cases; the end marker is reliable.
    if not header.ended:
        raise Refusal("is a truncated JPEG file (its end is missing)", FETCH_AGAIN)
    if header.kind not in SEQUENTIAL:
        raise Refusal("is a lossless or hierarchical JPEG file", AS_GREY)
    if header.bits != 8:
        raise Refusal(f"is a {header.bits}-bit JPEG file", AS_GREY)
    if header.components not in (1, 3):
        colours = "CMYK pixels" if header.components == 4 else f"{header.components} channels"
        raise Refusal(f"is a JPEG file with {colours}", AS_GREY)
    check_size(header.width, header.height, max_pixels)
    if header.scans > MAX_SCANS:
        raise Refusal(f"is a JPEG file with more than {MAX_SCANS} scans", AS_GREY)
    return "L" if header.components == 1 else "RGB"


def _check_png(png: Png, max_pixels: int) -> str:
    """Check the header and the kinds of chunks; return the mode, one of `_PNG_COLOURS`."""
    mode = _PNG_COLOURS.get(png.colour, f"colour type {png.colour}")
    if b"acTL" in png.kinds:
        raise Refusal("is an animated PNG file", f"pick one picture: {AS_GREY}")
    if png.bits == 16 and b"tRNS" in png.kinds:
        raise Refusal("is a 16-bit PNG file with a transparent colour", AS_GREY)
    if png.bits != 8 and mode != "P" and (png.bits, mode) != (16, "L"):
        raise Refusal(f"is a {png.bits}-bit PNG file of {mode} pixels", AS_GREY)
    check_size(png.width, png.height, max_pixels)
    return mode


def _reduced(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Reduce 16 bits to 8 (PNG specification, 12.5), or where half of them are not used, the values' range.

    Files that hold the 10 or 12 bits of a detector would be black otherwise. The range is that of DICOM images without
    a window, `grayscale.robust_range`.
    """
    values = np.asarray(image)
    notes: list[str] = []
    low, high = robust_range(np.arange(2.0**16), count_values(values), notes)
    if high >= 2**15:
        low, high, notes = 0.0, 65535.0, []
    else:
        notes.append(f"it has 16 bits and holds {low:.0f} to {high:.0f}; that range is shown")
    table = np.rint(np.clip((np.arange(2**16) - low) / max(high - low, 1), 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(look_up(table, values)), tuple(notes)
