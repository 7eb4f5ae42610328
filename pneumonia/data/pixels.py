"""Packing: every film decoded once into a memory-mapped array, named by what went into it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL
import pydicom
from numpy.typing import NDArray

from pneumonia.config import CLASSES, DataConfig, PreprocessConfig
from pneumonia.data import radiograph
from pneumonia.data.manifest import Entry, Manifest, cannot_write, patient_of, write_atomically
from pneumonia.data.scan import Film, scan
from pneumonia.data.split import assign
from pneumonia.errors import DataError

log = logging.getLogger(__name__)

FORMAT = 1  # raise it when the same file would give other pixels
LISTED = 20
POOL_FROM = 64  # fewer films than this are decoded sooner than threads are started
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Packed:
    """Decoded films and their manifest.

    Attributes:
        manifest: one entry a row of ``pixels``, split assigned.
        pixels: uint8 [N, size, size], a read-only memory map.
        path: the array's file.
        unreadable: what was left out, each with the keys file, reason and remedy.
        phantom: any of the films says that it is synthetic.
    """

    manifest: Manifest
    pixels: NDArray[np.uint8]
    path: Path
    unreadable: tuple[dict[str, str], ...]
    phantom: bool


@dataclass(frozen=True)
class _Row:
    entry: Entry
    pixels: bytes
    phantom: bool


def pack(
    root: Path, config: DataConfig, preprocess: PreprocessConfig, work: Path, progress: Progress | None = None
) -> Packed:
    """Decode all films below ``root`` into ``work/pixels/<key>.npy``, or open what an earlier call left there.

    The key is a digest of the films' paths, sizes and times of change and of the preprocessing, so that a second call
    decodes nothing. The split is assigned afterwards and is no part of the key. Decoding runs in threads: the decoders
    and the hash release the interpreter's lock, and threads are safe below any orchestrator.

    Args:
        root: holds train/ and test/ (and perhaps val/) with NORMAL/ and PNEUMONIA/ in each, or one folder that does.
        config: split, number of workers, what to do with unreadable films.
        preprocess: what makes the pixels.
        work: folder to write to.
        progress: called with the films done and all films.

    Raises:
        DataError: the layout is wrong, films are unreadable (all are listed at once), or ``work`` cannot be written.
    """
    films = scan(root)
    path = work / "pixels" / f"{_key(films, preprocess)}.npy"
    cached = _open(path, preprocess.size)
    if cached is None:
        _write(films, config, preprocess, path, progress)
        cached = _open(path, preprocess.size)
        if cached is None:
            raise DataError(f"{path}: was changed or removed while it was made; run again")
    entries, pixels, record = cached
    unreadable = tuple(record["unreadable"])
    if unreadable and config.on_unreadable == "fail":
        raise DataError(_explain(unreadable))
    _check_classes(entries, root)
    return Packed(Manifest(assign(entries, config)), pixels, path, unreadable, bool(record["phantom"]))


def _key(films: Sequence[Film], preprocess: PreprocessConfig) -> str:
    versions = (FORMAT, PIL.__version__, pydicom.__version__)
    state = hashlib.sha256(repr((versions, preprocess.model_dump_json())).encode())
    for film in films:
        state.update(repr((film.path, film.size, film.changed)).encode("utf-8", "surrogateescape"))
    return state.hexdigest()[:24]


def _open(path: Path, size: int) -> tuple[tuple[Entry, ...], NDArray[np.uint8], dict[str, Any]] | None:
    """The three files of a finished packing; the record is written last, so that without it nothing is finished."""
    record_path = path.with_suffix(".json")
    if not record_path.exists():
        return None
    try:
        record: dict[str, Any] = json.loads(record_path.read_text(encoding="utf-8"))
        entries = Manifest.load(path.with_suffix(".csv")).entries
        pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, DataError) as error:
        log.warning("%s cannot be used (%s); the films are decoded again", path, error)
        return None
    if pixels.shape != (len(entries), size, size) or pixels.dtype != np.uint8:
        log.warning("%s does not fit its manifest; the films are decoded again", path)
        return None
    return entries, pixels, record


def _write(
    films: Sequence[Film], config: DataConfig, preprocess: PreprocessConfig, path: Path, progress: Progress | None
) -> None:
    entries: list[Entry] = []
    unreadable: list[dict[str, str]] = []
    phantom = False
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            _write_header(file, len(films), preprocess.size)
            for done, row in enumerate(_decode_all(films, config, preprocess), start=1):
                if isinstance(row, _Row):
                    file.write(row.pixels)
                    entries.append(row.entry)
                    phantom |= row.phantom
                else:
                    unreadable.append(row)
                if progress:
                    progress(done, len(films))
            _write_header(file, len(entries), preprocess.size)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105
    except OSError as error:
        raise DataError(cannot_write(path, error)) from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
    Manifest(tuple(entries)).save(path.with_suffix(".csv"))
    record = {"preprocess": preprocess.model_dump(), "phantom": phantom, "unreadable": unreadable}
    write_atomically(path.with_suffix(".json"), json.dumps(record, indent=1).encode())


def _write_header(file: BinaryIO, rows: int, size: int) -> None:
    """NumPy pads its header so that the first axis may be rewritten in place."""
    file.seek(0)
    header = {"descr": "|u1", "fortran_order": False, "shape": (rows, size, size)}
    np.lib.format.write_array_header_1_0(file, header)


def _decode_all(
    films: Sequence[Film], config: DataConfig, preprocess: PreprocessConfig
) -> Iterator[_Row | dict[str, str]]:
    """Decode in order; few films are in flight, so that a slow disk does not fill the memory."""
    workers = config.workers or len(os.sched_getaffinity(0))
    if workers == 1 or len(films) < POOL_FROM:
        yield from (_decode(film, preprocess) for film in films)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        pending: deque[Future[_Row | dict[str, str]]] = deque()
        try:
            for film in films:
                pending.append(pool.submit(_decode, film, preprocess))
                if len(pending) >= 8 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _decode(film: Film, preprocess: PreprocessConfig) -> _Row | dict[str, str]:
    try:
        content = radiograph.load(film.file)
        shown = radiograph.read_bytes(content, preprocess, name=film.path)
    except radiograph.UnreadableRadiograph as error:
        return {"file": film.path, "reason": error.reason, "remedy": error.remedy}
    pixels = shown.pixels.tobytes()
    entry = Entry(
        path=film.path,
        sha256=hashlib.sha256(content).hexdigest(),
        label=film.label,
        patient=patient_of(film.path, film.label),
        folder=film.folder,
        split="unused",
        width=shown.width,
        height=shown.height,
        encoding=shown.encoding,
        pixels_sha256=hashlib.sha256(pixels).hexdigest(),
    )
    return _Row(entry, pixels, shown.phantom)


def _explain(unreadable: Sequence[dict[str, str]]) -> str:
    lines = [f"{item['file']}: {item['reason']}; {item['remedy']}" for item in unreadable[:LISTED]]
    if len(unreadable) > LISTED:
        lines.append(f"and {len(unreadable) - LISTED} more")
    head = f"{len(unreadable)} film(s) cannot be used:"
    tail = "Mend or remove them, or leave them out with data.on_unreadable=skip (--on-unreadable skip)."
    return "\n  ".join([head, *lines]) + f"\n{tail}"


def _check_classes(entries: Sequence[Entry], root: Path) -> None:
    """Leaving out unreadable films must not leave a class without any."""
    present = {(entry.folder == "test", entry.label) for entry in entries}
    for test, folder in ((False, "train"), (True, "test")):
        for label, name in enumerate(CLASSES):
            if (test, label) not in present:
                raise DataError(
                    f"{root}: {folder}/{name} holds no readable film; mend the files or name another folder"
                )
