"""Decode the images of a data set, in threads and in order."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumonia.config.schema import DataConfig, PreprocessConfig
from pneumonia.data.digests import Digest
from pneumonia.data.layout import ImageFile
from pneumonia.data.manifest import Entry
from pneumonia.data.patient_key import Pseudonyms
from pneumonia.errors import DataError
from pneumonia.imaging import radiograph
from pneumonia.imaging.image_statistics import measure

POOL_FROM = 64  # decoding fewer images takes less time than starting the threads


@dataclass(frozen=True)
class Row:
    """A decoded image.

    Attributes:
        entry: its row of the manifest; the patient is a pseudonym or empty.
        pixels: of its preprocessed image, uint8 [S, S] as bytes.
        features: float32 [image_statistics.COUNT].
        phantom: it is declared synthetic.
        notes: what the file leaves open about how it is to be shown.
    """

    entry: Entry
    pixels: bytes
    features: NDArray[np.float32]
    phantom: bool
    notes: tuple[str, ...] = ()


def threads(config: DataConfig, images: Sequence[ImageFile]) -> int:
    """Return the number of threads that read the images."""
    return 1 if len(images) < POOL_FROM else config.workers or _cores()


def decode_all(
    images: Sequence[ImageFile],
    digests: Sequence[Digest],
    config: DataConfig,
    preprocess: PreprocessConfig,
    pseudonyms: Pseudonyms,
) -> Iterator[Row | dict[str, str]]:
    """Decode in order, with few images in flight, so that a slow disk does not fill the memory.

    Yields:
        A `Row`, or for an image that cannot be read an object with the keys file, reason and remedy.

    Raises:
        DataError: a file has changed since it was digested.
    """
    workers, files = threads(config, images), zip(images, digests, strict=True)
    if workers == 1:
        yield from (_decode(image, digest, preprocess, pseudonyms) for image, digest in files)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        pending: deque[Future[Row | dict[str, str]]] = deque()
        try:
            for image, digest in files:
                pending.append(pool.submit(_decode, image, digest, preprocess, pseudonyms))
                if len(pending) >= 8 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _cores() -> int:
    """Return the number of cores that this process may use, in a container fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _decode(
    image: ImageFile, digest: Digest, preprocess: PreprocessConfig, pseudonyms: Pseudonyms
) -> Row | dict[str, str]:
    """Decode a file, whose content must be the digested one: the array's name, and DVC's record, speak of that."""
    content = b""
    try:
        content = radiograph.load(image.file)
        shown = radiograph.read_bytes(content, preprocess, name=image.path)
    except radiograph.UnreadableRadiograph as error:
        _check_unchanged(image, digest, content, error.reason)
        return {"file": image.path, "reason": error.reason, "remedy": error.remedy}
    _check_unchanged(image, digest, content)
    pixels = shown.pixels.tobytes()
    entry = Entry(
        path=image.path,
        sha256=digest.sha256,
        label=image.label,
        patient=_pseudonym(content, pseudonyms),
        folder=image.folder,
        split="unused",
        width=shown.width,
        height=shown.height,
        encoding=shown.encoding,
        pixels_sha256=hashlib.sha256(pixels).hexdigest(),
        bytes=len(content),
    )
    return Row(entry, pixels, measure(shown.levels), shown.phantom, shown.notes)


def _check_unchanged(image: ImageFile, digest: Digest, content: bytes, problem: str = "") -> None:
    """Refuse a file that has changed, or has become readable or unreadable, since it was digested."""
    same = problem == digest.problem if digest.problem else hashlib.sha256(content).hexdigest() == digest.sha256
    if not same:
        raise DataError(f"{image.file}: changed while it was read; run again when nothing writes there any more")


def _pseudonym(content: bytes, pseudonyms: Pseudonyms) -> str:
    """Return the pseudonym of a DICOM file's PatientID, empty where there is none."""
    if not radiograph.is_dicom(content):
        return ""
    from pneumonia.imaging.dicom import read_patient_id  # half a second that JPEG sets do not need

    identifier = read_patient_id(content)
    return pseudonyms.of(identifier) if identifier else ""
