"""Show DICOM images by DCMTK, the independent reader (Debian: dcmtk, and libgdcm-tools for JPEG 2000)."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

STEP = 1
"""Grey levels of 255 by which a picture of DCMTK may differ: it divides the range into 256 steps and does not round."""

INSTALLED = all(shutil.which(tool) for tool in ("dcm2pnm", "dcmj2pnm", "dcml2pnm"))
_HEADER = re.compile(rb"P([56])\s(?:#[^\n]*\n)*(\d+) (\d+)\n255\n")
_TOOLS = ("dcm2pnm", "dcmj2pnm", "dcml2pnm")  # uncompressed, JPEG, JPEG-LS


def dcmtk_version() -> str:
    """The version of the installed DCMTK."""
    text = subprocess.run(["dcm2pnm", "--version"], capture_output=True, text=True, check=True).stdout
    return text.split()[2]


def render(content: bytes, options: str) -> NDArray[np.uint8]:
    """Show an image, uint8 [H, W].

    Args:
        content: the DICOM file.
        options: of dcm2pnm, such as ``+Wi 1``.

    Raises:
        CalledProcessError: no tool reads it.
        ValueError: the tool wrote another kind of picture.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "image.dcm")
        file.write_bytes(content)
        for tool in _TOOLS:
            done = subprocess.run([tool, "+op", "-O", *options.split(), file], capture_output=True, check=False)
            if done.returncode == 0 and done.stdout:
                return _pnm(done.stdout)
        raw = Path(folder, "raw.dcm")
        subprocess.run(["gdcmconv", "--raw", file, raw], capture_output=True, check=True)
        return _pnm(
            subprocess.run(["dcm2pnm", "+op", "-O", *options.split(), raw], capture_output=True, check=True).stdout
        )


def _pnm(content: bytes) -> NDArray[np.uint8]:
    header = _HEADER.match(content)
    if not header:
        raise ValueError("this is no 8-bit PNM picture")
    channels = 3 if header[1] == b"6" else 1
    pixels = np.frombuffer(content[header.end() :], np.uint8).reshape(int(header[3]), int(header[2]), channels)
    if channels == 3:
        from PIL import Image

        return np.asarray(Image.fromarray(pixels).convert("L"))
    return pixels[..., 0]
