"""Decode the pixel data of a DICOM image, of every transfer syntax, to the samples that were stored."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_fragments
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from pneumonia.imaging import jpeg_markers
from pneumonia.imaging.dicom_elements import text
from pneumonia.imaging.refusal import FETCH_AGAIN, Refusal

Samples = NDArray[np.unsignedinteger[Any]]

_JPEGS = (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes)
_TOOLS = "gdcmconv --raw, dcmdjpeg or dcmdjpls"
_INSTALL = f"install pneumonia[dicom], or decompress it ({_TOOLS})"
_DECOMPRESS = f"decompress it to Explicit VR Little Endian ({_TOOLS})"
_MAX_FRAGMENTS = 100_000
_RLE_HEADER = 64  # bytes (DICOM PS3.5, G.5)


def read_samples(dataset: Dataset) -> tuple[Samples, int]:
    """Decode the only frame of an image.

    Returns:
        Its samples as they were stored, neither shifted nor masked, uint8 or uint16 [H, W], or [H, W, 3] of colours
        (RGB where a JPEG is decoded, otherwise as stored); and how many bits of each sample hold something.

    Raises:
        Refusal: the pixels are cut off, larger than declared, or in a transfer syntax that is not read.
    """
    syntax: UID = dataset.file_meta.TransferSyntaxUID
    undefined = bool(dataset["PixelData"].is_undefined_length)
    if not syntax.is_transfer_syntax or syntax.is_private:
        raise _unread(syntax, "", _DECOMPRESS)
    if not syntax.is_encapsulated:
        if undefined:
            raise Refusal("is a damaged DICOM file (it declares compressed pixels to be uncompressed)", FETCH_AGAIN)
        return _read_native(dataset, syntax)
    if syntax == RLELossless:
        return _decode_rle(dataset, join_fragments(dataset))
    if syntax in _JPEGS:
        return _decode_jpeg(dataset, syntax, join_fragments(dataset))
    raise _unread(syntax, "", _DECOMPRESS)


def _unread(syntax: UID, detail: str, remedy: str) -> Refusal:
    return Refusal(f"is a DICOM file whose pixels are not read, {syntax} ({syntax.name}{detail})", remedy)


def _shape(dataset: Dataset) -> tuple[int, ...]:
    size = (int(dataset.Rows), int(dataset.Columns))
    return size if dataset.SamplesPerPixel == 1 else (*size, int(dataset.SamplesPerPixel))


def _read_native(dataset: Dataset, syntax: UID) -> tuple[Samples, int]:
    """View uncompressed pixels (DICOM PS3.5, 8.1.1 and 8.2)."""
    content: bytes = dataset.PixelData
    shape, allocated = _shape(dataset), int(dataset.BitsAllocated)
    needed = int(np.prod(shape)) * allocated // 8
    if len(content) < needed:
        detail = f"it has {len(content):,} of {needed:,} bytes of pixels"
        raise Refusal(f"is a damaged DICOM file ({detail})", FETCH_AGAIN)
    if len(content) >= 2 * needed:
        detail = f"it has {len(content):,} bytes of pixels and declares {needed:,}"
        raise Refusal(f"is a damaged DICOM file ({detail})", FETCH_AGAIN)
    big = syntax == ExplicitVRBigEndian
    if big and allocated == 8 and dataset["PixelData"].VR == "OW":  # pairs of bytes are swapped
        even = content[: needed + needed % 2]
        content = np.frombuffer(even, dtype=">u2").astype("<u2").tobytes()
    kind = np.dtype(f"{'>' if big else '<'}u{allocated // 8}")
    samples = np.frombuffer(content, dtype=kind, count=int(np.prod(shape))).astype(kind.newbyteorder("="), copy=False)
    return _interleaved(samples, shape, dataset.get("PlanarConfiguration") == 1), allocated


def _interleaved(samples: Samples, shape: tuple[int, ...], planar: bool) -> Samples:
    if len(shape) == 3 and planar:
        return samples.reshape(shape[2], *shape[:2]).transpose(1, 2, 0)
    return samples.reshape(shape)


def join_fragments(dataset: Dataset) -> bytes:
    """Join the fragments of the only frame; the first is the table of offsets (DICOM PS3.5, A.4)."""
    fragments: list[bytes] = []
    for fragment in generate_fragments(dataset.PixelData):
        fragments.append(fragment)
        if len(fragments) > _MAX_FRAGMENTS:
            raise Refusal(f"is a DICOM file of more than {_MAX_FRAGMENTS:,} fragments (a bomb?)", "remove it")
    if len(fragments) < 2:
        raise Refusal("is a damaged DICOM file (it has no compressed frame)", FETCH_AGAIN)
    return b"".join(fragments[1:])


def _decode_jpeg(dataset: Dataset, syntax: UID, frame: bytes) -> tuple[Samples, int]:
    """Decode a frame, after its own header has been compared with the data set."""
    header = jpeg_markers.read_header(frame, "DICOM")
    if (header.width, header.height) != (dataset.Columns, dataset.Rows):
        raise Refusal("is a damaged DICOM file (its frame does not have the declared size)", FETCH_AGAIN)
    if header.components != dataset.SamplesPerPixel:
        detail = f"its frame has {header.components} samples a pixel, and {dataset.SamplesPerPixel} are declared"
        raise Refusal(f"is a damaged DICOM file ({detail})", FETCH_AGAIN)
    if header.scans > jpeg_markers.MAX_SCANS:
        raise Refusal(f"is a DICOM file whose JPEG has more than {jpeg_markers.MAX_SCANS} scans", _DECOMPRESS)
    if not header.ended:
        raise Refusal("is a damaged DICOM file (its frame is truncated)", FETCH_AGAIN)
    if header.kind == jpeg_markers.JPEG_2000 or (header.kind in jpeg_markers.SEQUENTIAL and header.bits == 8):
        samples = _decode_with_pillow(dataset, header, frame)
    else:
        samples = _decode_with_imagecodecs(syntax, header, frame)
    if samples.shape != _shape(dataset) or samples.dtype.kind != "u" or samples.itemsize > 2:
        raise Refusal("is a damaged DICOM file (its pixels do not have the declared size)", FETCH_AGAIN)
    return samples, header.bits


def _decode_with_pillow(dataset: Dataset, header: jpeg_markers.FrameHeader, frame: bytes) -> Samples:
    """Decode by pydicom's plugin for Pillow, whatever others are installed, so that all give the same pixels."""
    # What the frame is decides, not what it is called; OpenJPEG knows high-throughput codestreams by themselves.
    syntax = JPEG2000Lossless if header.kind == jpeg_markers.JPEG_2000 else JPEGBaseline8Bit
    known = {"BitsStored": "bits_stored", "PixelRepresentation": "pixel_representation", "Rows": "rows"}
    known |= {"Columns": "columns", "SamplesPerPixel": "samples_per_pixel", "BitsAllocated": "bits_allocated"}
    options: dict[str, Any] = {option: int(dataset[name].value) for name, option in known.items()}
    options |= {"photometric_interpretation": text(dataset, "PhotometricInterpretation")}
    options |= {
        "number_of_frames": 1,
        "planar_configuration": 0,
        "pixel_keyword": "PixelData",
        "correct_unused_bits": False,
    }
    if header.kind != jpeg_markers.JPEG_2000:
        options |= {"bits_stored": 8, "bits_allocated": 8}  # of the frame, whatever the data set allocates
    array, _ = get_decoder(syntax).as_array(
        encapsulate([frame[header.start :]]), index=0, decoding_plugin="pillow", validate=False, **options
    )
    return array.view(f"u{array.itemsize}")


def _decode_with_imagecodecs(syntax: UID, header: jpeg_markers.FrameHeader, frame: bytes) -> Samples:
    """Decode 12-bit and lossless JPEG and JPEG-LS, which Pillow does not read."""
    if header.kind not in jpeg_markers.SEQUENTIAL | {jpeg_markers.LOSSLESS, jpeg_markers.JPEG_LS}:
        raise _unread(syntax, ", hierarchical", _DECOMPRESS)
    try:
        import imagecodecs
    except ImportError:
        raise _unread(syntax, f", {header.bits}-bit", _INSTALL) from None
    decode = imagecodecs.jpegls_decode if header.kind == jpeg_markers.JPEG_LS else imagecodecs.jpeg8_decode
    return np.asarray(decode(frame))


def _decode_rle(dataset: Dataset, frame: bytes) -> tuple[Samples, int]:
    """Decode run lengths (DICOM PS3.5, G), one segment for each byte of a sample, the high byte first.

    pydicom's decoder has no bound on what it inflates.
    """
    shape, allocated = _shape(dataset), int(dataset.BitsAllocated)
    pixels, count = shape[0] * shape[1], int(np.prod(shape[2:])) * allocated // 8
    if len(frame) < _RLE_HEADER or struct.unpack("<L", frame[:4]) != (count,):
        raise Refusal("is a damaged DICOM file (its run lengths have another header)", FETCH_AGAIN)
    starts = struct.unpack(f"<{count}L", frame[4 : 4 + 4 * count])
    ends = (*starts[1:], len(frame))
    planes = [_unpack(frame[a:b], pixels) for a, b in zip(starts, ends, strict=True)]
    cells = np.stack([np.frombuffer(plane, dtype=np.uint8) for plane in planes])  # [samples * bytes, pixels]
    if allocated == 16:
        cells = np.ascontiguousarray(cells.reshape(-1, 2, pixels).transpose(0, 2, 1)).view(">u2")[..., 0].astype("=u2")
    return _interleaved(cells, shape, True) if len(shape) == 3 else cells.reshape(shape), allocated


def _unpack(segment: bytes, length: int) -> bytearray:
    """Unpack a segment's runs to `length` bytes, and no further."""
    out, position = bytearray(), 0
    if len(segment) > 2 * length + _RLE_HEADER:  # a run of one byte takes two, and nothing takes more
        raise Refusal("is a damaged DICOM file (its run lengths are longer than its pixels)", FETCH_AGAIN)
    while len(out) < length and position < len(segment):
        control = segment[position]
        if control < 128:
            out += segment[position + 1 : position + 2 + control]
            position += 2 + control
        elif control > 128:
            out += segment[position + 1 : position + 2] * (257 - control)
            position += 2
        else:
            position += 1
    if len(out) < length:
        raise Refusal("is a damaged DICOM file (its run lengths are cut off)", FETCH_AGAIN)
    return out[:length]
