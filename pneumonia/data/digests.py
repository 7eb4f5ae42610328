"""Digest the content of every file, and remember it for as long as the file is not touched."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pneumonia.data.layout import ImageFile
from pneumonia.files import write_text
from pneumonia.imaging import radiograph

T = TypeVar("T")
FOLDER = "digests"  # in the work folder
_FORMAT = 1
_SETTLED = 2_000_000_000  # ns: a file that changed this shortly before it was read may change again at the same time


class Digest(NamedTuple):
    """The digests of a file's content, or the reason why it cannot be read.

    Attributes:
        sha256: hexadecimal; empty where the file cannot be read.
        md5: hexadecimal, which is DVC's; empty where the file cannot be read.
        problem: why it cannot be read; empty where it can.
    """

    sha256: str
    md5: str
    problem: str = ""


def digest_files(images: Sequence[ImageFile], root: Path, work: Path, workers: int) -> list[Digest]:
    """Return the digests of the images' files, in order.

    A file that was digested by an earlier call is read again if its inode, size, or a time of change is another. The
    time of the last change of the inode cannot be set by any program, so that neither a copy with the times of its
    original nor an edit that restores them is mistaken for it. A file that could not be read is tried again.

    Args:
        images: of one data set.
        root: its folder; each has a table of its own.
        work: folder to write the table to.
        workers: number of threads.

    Raises:
        DataError: the table cannot be written.
    """
    table = work / FOLDER / f"{hashlib.sha256(bytes(root.resolve())).hexdigest()[:24]}.json"
    known, now = _load(table), time.time_ns()
    found = _map(lambda image: _known(image, known) or _digest(image), images, workers)
    settled = {
        image.path: [list(image.stamp), digest.sha256, digest.md5]
        for image, digest in zip(images, found, strict=True)
        if not digest.problem and image.stamp and max(image.stamp[2:]) < now - _SETTLED
    }
    if settled != known:
        write_text(table, json.dumps({"format": _FORMAT, "files": settled}))
    return found


def _map(call: Callable[[ImageFile], T], images: Sequence[ImageFile], workers: int) -> list[T]:
    if workers == 1:
        return [call(image) for image in images]
    with ThreadPoolExecutor(workers, thread_name_prefix="digest") as pool:
        return list(pool.map(call, images, chunksize=1))


def _known(image: ImageFile, known: dict[str, Any]) -> Digest | None:
    row = known.get(image.path)
    return Digest(row[1], row[2]) if row and row[0] == list(image.stamp) else None


def _digest(image: ImageFile) -> Digest:
    try:
        content = radiograph.load(image.file)
    except radiograph.UnreadableRadiograph as error:
        return Digest("", "", error.reason)
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return Digest(hashlib.sha256(content).hexdigest(), md5)


def _load(table: Path) -> dict[str, Any]:
    """Return the table of an earlier call; empty where it cannot be used, so that every file is read."""
    try:
        document = json.loads(table.read_text(encoding="utf-8"))
        files = document["files"] if document["format"] == _FORMAT else {}
        return files if all(len(row) == 3 for row in files.values()) else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
