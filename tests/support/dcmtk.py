"""Show DICOM images by DCMTK, the independent reader (Debian: dcmtk, and libgdcm-tools for JPEG 2000)."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pydicom.data
from numpy.typing import NDArray
from PIL import Image

STEP = 1
"""Grey levels of 255 by which a picture of DCMTK may differ: it divides the range into 256 steps and does not round."""

SHIPPED = Path(pydicom.data.__file__).parent / "test_files"
"""The images that pydicom ships."""

_TOOLS = ("dcm2pnm", "dcmj2pnm", "dcml2pnm")  # uncompressed, JPEG, JPEG-LS
_HEADER = re.compile(rb"P([56])\s(?:#[^\n]*\n)*(\d+) (\d+)\n255\n")

INSTALLED = all(shutil.which(tool) for tool in (*_TOOLS, "gdcmconv"))


def dcmtk_version() -> str:
    """The version of the installed DCMTK."""
    return subprocess.run(["dcm2pnm", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]


def display_options(dataset: pydicom.Dataset) -> str:
    """The options by which DCMTK applies what an image names, as the decoder does."""
    if dataset.get("VOILUTSequence"):
        return "+Wl 1"
    if dataset.get("WindowWidth") not in (None, ""):
        return "+Wi 1"
    if dataset.SamplesPerPixel == 3 or (dataset.BitsStored == 8 and dataset.PixelRepresentation == 0):
        return "-W"
    return "+Wm"


def render(content: bytes, options: str) -> NDArray[np.uint8]:
    """Show an image, uint8 [H, W], without its overlays.

    Args:
        content: the DICOM file.
        options: of dcm2pnm, such as ``+Wi 1``.

    Raises:
        CalledProcessError: no tool reads it.
        ValueError: the tool wrote another kind of picture.
    """
    with tempfile.TemporaryDirectory() as folder:
        file, raw = Path(folder, "image.dcm"), Path(folder, "raw.dcm")
        file.write_bytes(content)
        for tool in _TOOLS:
            done = subprocess.run([tool, "+op", "-O", *options.split(), file], capture_output=True, check=False)
            if done.returncode == 0 and done.stdout:
                return _pnm(done.stdout)
        subprocess.run(["gdcmconv", "--raw", file, raw], capture_output=True, check=True)
        shown = subprocess.run(["dcm2pnm", "+op", "-O", *options.split(), raw], capture_output=True, check=True)
        return _pnm(shown.stdout)


def thinned(picture: NDArray[np.uint8]) -> list[list[int]]:
    """An eighth of a picture's rows and columns, to be written down."""
    height, width = (max(side // 8, 1) for side in picture.shape)
    return [[int(level) for level in row] for row in picture[height // 2 :: height, width // 2 :: width]]


def _pnm(content: bytes) -> NDArray[np.uint8]:
    header = _HEADER.match(content)
    if not header:
        raise ValueError("this is no 8-bit PNM picture")
    channels = 3 if header[1] == b"6" else 1
    pixels = np.frombuffer(content[header.end() :], np.uint8).reshape(int(header[3]), int(header[2]), channels)
    return np.asarray(Image.fromarray(pixels).convert("L")) if channels == 3 else pixels[..., 0]
