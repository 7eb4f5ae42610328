"""The same picture through every transfer syntax; those of the extra `dicom` where it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    UID,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

from pneumonia.imaging.dicom import decode_dicom
from pneumonia.imaging.radiograph import library_versions
from tests.support.dicom_cases import EIGHT, FULL, SCENE, WINDOW
from tests.support.images import dicom, encode, jpeg

LOSSY = 3  # grey levels
SIXTEEN = (SCENE * 16).astype(np.uint16)


def shown(content: bytes) -> NDArray[np.uint8]:
    return np.asarray(decode_dicom(content).image)


def framed(frame: bytes, syntax: UID, stored: NDArray[Any] = EIGHT, bits: int = 8, **elements: Any) -> bytes:
    """An image of a compressed frame."""
    known = {"PixelData": encapsulate([frame]), "BitsStored": bits, "HighBit": bits - 1}
    return dicom(stored, syntax, **(known | elements))


JPEG = jpeg(EIGHT)
J2K = encode(EIGHT, "JPEG2000", no_jp2=True)


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLosslessSV1])
def test_an_8_bit_jpeg_is_read_by_what_it_is(syntax: UID) -> None:
    np.testing.assert_allclose(shown(framed(JPEG, syntax)), EIGHT, atol=LOSSY)


@pytest.mark.parametrize("fill", [b"\xff", b"\xff" * 9, b"\0", b"\0" * 511, b"\xff\0\xff", b"anything"])
def test_bytes_behind_a_frames_end_do_not_matter(fill: bytes) -> None:
    """Frames have an even length, and some archives fill them with FF instead of 00 (DICOM PS3.5, A.4)."""
    np.testing.assert_array_equal(shown(framed(JPEG + fill, JPEGBaseline8Bit)), shown(framed(JPEG, JPEGBaseline8Bit)))
    np.testing.assert_array_equal(shown(framed(J2K + fill, JPEG2000Lossless)), EIGHT)


@pytest.mark.parametrize("offsets", [True, False])
def test_a_frame_in_fragments_is_one(offsets: bool) -> None:
    pixels = encapsulate([JPEG], fragments_per_frame=3, has_bot=offsets)
    np.testing.assert_array_equal(
        shown(framed(JPEG, JPEGBaseline8Bit, PixelData=pixels)), shown(framed(JPEG, JPEGBaseline8Bit))
    )


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEG2000])
def test_jpeg_2000(syntax: UID) -> None:
    deep = encode(SIXTEEN, "JPEG2000", no_jp2=True)
    np.testing.assert_array_equal(shown(framed(J2K, syntax)), EIGHT)
    np.testing.assert_array_equal(shown(framed(encode(EIGHT, "JPEG2000"), syntax)), EIGHT)  # in a JP2 file
    window = {"WindowCenter": 32_768, "WindowWidth": 65_536}
    np.testing.assert_allclose(shown(framed(deep, syntax, SIXTEEN, 16, **window)), SIXTEEN / 65_535 * 255, atol=0.51)


def test_an_8_bit_frame_in_a_16_bit_image() -> None:
    content = framed(JPEG, JPEGBaseline8Bit, BitsAllocated=16)
    np.testing.assert_allclose(shown(content), EIGHT, atol=LOSSY)


def test_grey_that_is_stored_in_colour_is_read() -> None:
    channels = np.stack([EIGHT] * 3, axis=-1)
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    np.testing.assert_array_equal(shown(dicom(EIGHT, PixelData=channels.tobytes(), **colour)), EIGHT)
    planes = channels.transpose(2, 0, 1).tobytes()
    np.testing.assert_array_equal(shown(dicom(EIGHT, PixelData=planes, **(colour | {"PlanarConfiguration": 1}))), EIGHT)
    luminance = np.stack([EIGHT, np.full_like(EIGHT, 128), np.full_like(EIGHT, 128)], axis=-1).tobytes()
    full = colour | {"PhotometricInterpretation": "YBR_FULL"}
    np.testing.assert_allclose(shown(dicom(EIGHT, PixelData=luminance, **full)), EIGHT, atol=1)
    halved = colour | {"PhotometricInterpretation": "YBR_FULL_422"}
    np.testing.assert_allclose(shown(framed(jpeg(channels), JPEGBaseline8Bit, **halved)), EIGHT, atol=LOSSY)


# --- with the extra


@pytest.fixture
def codecs() -> Any:
    """The codecs of the extra."""
    return pytest.importorskip("imagecodecs", reason="the extra `dicom` is not installed: its refusal is tested")


@pytest.mark.parametrize(("stored", "bits"), [(EIGHT, 8), (SCENE, 12), (SIXTEEN, 16)])
@pytest.mark.parametrize(("syntax", "predictor"), [(JPEGLosslessSV1, 1), (JPEGLossless, 4), (JPEGLossless, 7)])
def test_lossless_jpeg(codecs: Any, syntax: UID, predictor: int, stored: NDArray[Any], bits: int) -> None:
    frame = codecs.jpeg8_encode(stored, lossless=True, bitspersample=bits, predictor=predictor)
    window = {"WindowCenter": 2 ** (bits - 1), "WindowWidth": 2**bits}
    np.testing.assert_allclose(
        shown(framed(frame, syntax, stored, bits, **window)), stored / (2**bits - 1) * 255, atol=0.51
    )


def test_12_bit_jpeg(codecs: Any) -> None:
    frame = codecs.jpeg8_encode(SCENE, bitspersample=12, level=98)
    np.testing.assert_allclose(shown(framed(frame, JPEGExtended12Bit, SCENE, 12, **WINDOW)), FULL * 255, atol=LOSSY)


@pytest.mark.parametrize(("stored", "bits"), [(EIGHT, 8), (SCENE, 12), (SIXTEEN, 16)])
def test_jpeg_ls(codecs: Any, stored: NDArray[Any], bits: int) -> None:
    window = {"WindowCenter": 2 ** (bits - 1), "WindowWidth": 2**bits}
    for syntax, level in ((JPEGLSLossless, 0), (JPEGLSNearLossless, 2)):
        frame = codecs.jpegls_encode(stored, level=level)
        expected = stored / (2**bits - 1) * 255
        np.testing.assert_allclose(shown(framed(frame, syntax, stored, bits, **window)), expected, atol=0.51 + level)


def test_signed_pixels_in_lossless_jpeg(codecs: Any) -> None:
    signed = (SCENE.astype(np.int32) - 2048).astype(np.int16)
    pattern = signed.view(np.uint16) & 0xFFF
    window = {"WindowCenter": 0, "WindowWidth": 4096}
    for frame, syntax in (
        (codecs.jpeg8_encode(pattern, lossless=True, bitspersample=12, predictor=1), JPEGLosslessSV1),
        (codecs.jpeg8_encode(signed.view(np.uint16), lossless=True, bitspersample=16, predictor=1), JPEGLosslessSV1),
        (codecs.jpegls_encode(pattern), JPEGLSLossless),
    ):
        np.testing.assert_allclose(shown(framed(frame, syntax, signed, 12, **window)), FULL * 255, atol=0.51)


def test_left_justified_lossless_jpeg(codecs: Any) -> None:
    """The codestream holds whole cells, or the stored bits alone: its own precision tells which."""
    cells = codecs.jpeg8_encode((SCENE << 4).astype(np.uint16), lossless=True, bitspersample=16, predictor=1)
    stored = codecs.jpeg8_encode(SCENE, lossless=True, bitspersample=12, predictor=1)
    for frame in (cells, stored):
        content = framed(frame, JPEGLosslessSV1, SCENE, 12, HighBit=15, **WINDOW)
        np.testing.assert_allclose(shown(content), FULL * 255, atol=0.51)


@pytest.mark.parametrize(("bits", "noted"), [(16, False), (14, True)])
def test_bits_above_the_stored_ones_are_left_out(codecs: Any, bits: int, noted: bool) -> None:
    """Overlays lie in whole cells; a codestream of two bits more than are declared contradicts its data set."""
    overlaid = SCENE.copy()
    overlaid[3:9, 3:30] |= 0x3000
    frame = codecs.jpeg8_encode(overlaid, lossless=True, bitspersample=bits, predictor=1)
    decoded = decode_dicom(framed(frame, JPEGLosslessSV1, SCENE, 12, **WINDOW))
    np.testing.assert_allclose(np.asarray(decoded.image), FULL * 255, atol=0.51)
    assert bool(decoded.notes) == noted


def test_high_throughput_jpeg_2000(codecs: Any) -> None:
    frame = codecs.htj2k_encode(SCENE)
    np.testing.assert_allclose(shown(framed(frame, HTJ2KLossless, SCENE, 12, **WINDOW)), FULL * 255, atol=0.51)


def test_the_libraries_that_decode_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are part of the key of packed images: an extra that was installed since reads files that were refused."""
    names = [name.split()[0] for name in library_versions()]
    assert names[:2] == ["pillow", "pydicom"]
    assert library_versions()[2].split()[-1][0].isdigit() or library_versions()[2] == "no imagecodecs"
