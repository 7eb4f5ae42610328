"""Read CT and MR volumes, cut slices from them, and project them as radiographs are made."""

from __future__ import annotations

import gzip
import plistlib
import struct
import tarfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Volume = NDArray[np.float32]
_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 512: "u2"}


def read_nifti(path: Path) -> tuple[Volume, tuple[float, float, float]]:
    """Read a NIfTI-1 volume: float32 [X, Y, Z] and the millimetres between its voxels."""
    content = gzip.decompress(path.read_bytes())
    order = "<" if struct.unpack("<i", content[:4])[0] == 348 else ">"
    shape = struct.unpack(order + "8h", content[40:56])[1:4]
    kind = _TYPES[struct.unpack(order + "h", content[70:72])[0]]
    spacing = struct.unpack(order + "8f", content[76:108])[1:4]
    start, slope, intercept = struct.unpack(order + "3f", content[108:120])
    voxels = np.frombuffer(content, order + kind, int(np.prod(shape)), int(start)).reshape(shape, order="F")
    return voxels.astype(np.float32) * (slope or 1) + intercept, (spacing[0], spacing[1], spacing[2])


def read_invesalius(path: Path) -> tuple[Volume, tuple[float, float, float]]:
    """Read a project of InVesalius, such as of Debian's package invesalius-examples: float32 [X, Y, Z], millimetres."""
    with tarfile.open(path) as archive:
        names = {Path(name).name: name for name in archive.getnames()}
        about = plistlib.loads(_content(archive, names["main.plist"]))
        matrix = about["matrix"]
        voxels = np.frombuffer(_content(archive, names[matrix["filename"]]), matrix["dtype"]).reshape(matrix["shape"])
    spacing = about["spacing"]
    return voxels.transpose(2, 1, 0).astype(np.float32), (spacing[0], spacing[1], spacing[2])


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is no file of the archive")
    return file.read()


def project(volume: Volume, spacing: tuple[float, float, float], axis: int) -> NDArray[np.float32]:
    """Return what lies in parallel beams along an axis, as a film shows it, head upwards, of square pixels.

    Args:
        volume: Hounsfield units [X, Y, Z].
        spacing: millimetres between voxels.
        axis: 0 projects from the side, 1 from the front, 2 along the body.
    """
    attenuation = np.clip(volume + 1000, 0, 3000).sum(axis, dtype=np.float32)
    rest = [spacing[at] for at in range(3) if at != axis]
    return _square(attenuation.T[::-1], rest[1], rest[0])


def cut(volume: Volume, spacing: tuple[float, float, float], axis: int, share: float) -> NDArray[np.float32]:
    """Return the slice that lies at a share of an axis, of square pixels."""
    rest = [spacing[at] for at in range(3) if at != axis]
    return _square(np.take(volume, int(share * volume.shape[axis]), axis).T[::-1], rest[1], rest[0])


def _square(picture: NDArray[np.float32], down: float, across: float) -> NDArray[np.float32]:
    size = (round(picture.shape[1] * across * 1.5), round(picture.shape[0] * down * 1.5))
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize(size, Image.Resampling.BICUBIC))


def shown(picture: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    """Return grey levels, uint8, of a picture from its quantile ``low`` to its quantile ``high``."""
    first, last = np.quantile(picture, (low, high))
    return np.asarray(np.rint(255 * np.clip((picture - first) / max(last - first, 1e-6), 0, 1)), np.uint8)


def trimmed(picture: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """Return the part of a picture in which its rows and columns are bright: without the air around a body."""
    bright = picture > share * float(np.quantile(picture, 0.98))
    rows, columns = (np.flatnonzero(bright.mean(axis) > 0.25) for axis in (1, 0))
    return picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
