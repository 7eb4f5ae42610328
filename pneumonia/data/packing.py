"""Packing: every film decoded once into a memory-mapped array, named by what went into it."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumonia.config.schema import CLASSES, DataConfig, PreprocessConfig
from pneumonia.data.layout import ImageFile, scan
from pneumonia.data.manifest import Entry, Manifest
from pneumonia.data.patients import patient_of
from pneumonia.data.split import assign
from pneumonia.errors import DataError
from pneumonia.files import AtomicFile
from pneumonia.imaging import radiograph
from pneumonia.imaging.image_statistics import COUNT, measure
from pneumonia.progress import Progress, silent

log = logging.getLogger(__name__)

FORMAT = 2  # raise it when the same file would give other pixels or another entry
LISTED = 20
POOL_FROM = 64  # fewer films than this are decoded sooner than threads are started


@dataclass(frozen=True)
class Packed:
    """Decoded films and their manifest.

    Attributes:
        manifest: one entry a row of ``pixels``, split assigned.
        pixels: uint8 [N, size, size], a read-only memory map.
        cues: float32 [N, cues.COUNT], measures of each film's picture before any equalisation.
        path: the array's file.
        unreadable: what was left out, each with the keys file, reason and remedy.
        phantom: any of the films says that it is synthetic.
    """

    manifest: Manifest
    pixels: NDArray[np.uint8]
    cues: NDArray[np.float32]
    path: Path
    unreadable: tuple[dict[str, str], ...]
    phantom: bool


@dataclass(frozen=True)
class _Row:
    entry: Entry
    pixels: bytes
    cues: NDArray[np.float32]
    phantom: bool


def pack(
    root: Path, config: DataConfig, preprocess: PreprocessConfig, work: Path, progress: Progress = silent
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
        _write(films, root, config, preprocess, path, progress)
        cached = _open(path, preprocess.size)
        if cached is None:
            raise DataError(f"{path}: was changed or removed while it was made; run again")
    entries, pixels, pictures, record = cached
    _check(root, entries, record["unreadable"], config)
    manifest = Manifest(assign(entries, config))
    return Packed(manifest, pixels, pictures, path, tuple(record["unreadable"]), bool(record["phantom"]))


def packing_key(root: Path, preprocess: PreprocessConfig) -> str:
    """The name that `pack` gives to these films in their present state.

    Raises:
        DataError: the layout is wrong.
    """
    return _key(scan(root), preprocess)


def _key(films: Sequence[ImageFile], preprocess: PreprocessConfig) -> str:
    versions = (FORMAT, version("pillow"), version("pydicom"))
    state = hashlib.sha256(repr((versions, preprocess.model_dump_json())).encode())
    for film in films:
        state.update(repr((film.path, film.size, film.changed)).encode("utf-8", "surrogateescape"))
    return state.hexdigest()[:24]


def _open(
    path: Path, size: int
) -> tuple[tuple[Entry, ...], NDArray[np.uint8], NDArray[np.float32], dict[str, Any]] | None:
    """The four files of a finished packing; the record is written last, so that without it nothing is finished."""
    record_path = path.with_suffix(".json")
    if not record_path.exists():
        return None
    table = path.with_suffix(".csv")
    try:
        record: dict[str, Any] = json.loads(record_path.read_text(encoding="utf-8"))
        entries = Manifest.load(table).entries
        pixels = np.load(path, mmap_mode="r", allow_pickle=False)
        pictures = np.load(_cues(path), allow_pickle=False)
        whole = record["manifest_sha256"] == _sha256(table) and pixels.shape == (len(entries), size, size)
        whole = whole and pictures.shape == (len(entries), COUNT)
    except (OSError, EOFError, ValueError, TypeError, KeyError, DataError) as error:
        log.warning("%s cannot be used (%s); the films are decoded again", path, error)
        return None
    if not whole or pixels.dtype != np.uint8:
        log.warning("%s does not fit its manifest; the films are decoded again", path)
        return None
    return entries, pixels, pictures, record


def _cues(path: Path) -> Path:
    return path.with_suffix(".cues.npy")


def _write(
    films: Sequence[ImageFile],
    root: Path,
    config: DataConfig,
    preprocess: PreprocessConfig,
    path: Path,
    progress: Progress,
) -> None:
    entries: list[Entry] = []
    pictures: list[NDArray[np.float32]] = []
    unreadable: list[dict[str, str]] = []
    phantom = False
    with AtomicFile(path) as file:
        file.write(_header(len(films), preprocess.size))
        for done, row in enumerate(_decode_all(films, config, preprocess), start=1):
            if isinstance(row, _Row):
                file.write(row.pixels)
                entries.append(row.entry)
                pictures.append(row.cues)
                phantom |= row.phantom
            else:
                unreadable.append(row)
            progress(done, len(films))
        _check(root, entries, unreadable, config)
        file.write(_header(len(entries), preprocess.size), at=0)
    content = io.BytesIO()
    np.save(content, np.stack(pictures), allow_pickle=False)
    with AtomicFile(_cues(path)) as file:
        file.write(content.getvalue())
    table = path.with_suffix(".csv")
    Manifest(tuple(entries)).save(table)
    record = {
        "manifest_sha256": _sha256(table),
        "phantom": phantom,
        "preprocess": preprocess.model_dump(),
        "unreadable": unreadable,
    }
    with AtomicFile(path.with_suffix(".json")) as file:
        file.write(json.dumps(record, indent=1).encode())


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _header(rows: int, size: int) -> bytes:
    """The head of a .npy file; NumPy pads it so that the number of rows may be rewritten in place."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (rows, size, size)})
    return header.getvalue()


def _decode_all(
    films: Sequence[ImageFile], config: DataConfig, preprocess: PreprocessConfig
) -> Iterator[_Row | dict[str, str]]:
    """Decode in order; few films are in flight, so that a slow disk does not fill the memory."""
    workers = config.workers or _cores()
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


def _cores() -> int:
    """Cores this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _decode(film: ImageFile, preprocess: PreprocessConfig) -> _Row | dict[str, str]:
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
        bytes=len(content),
    )
    return _Row(entry, pixels, measure(shown.levels), shown.phantom)


def _check(root: Path, entries: Sequence[Entry], unreadable: Sequence[dict[str, str]], config: DataConfig) -> None:
    """Refuse unreadable films, or what leaving them out would leave."""
    if unreadable and config.on_unreadable == "fail":
        lines = [f"{item['file']}: {item['reason']}; {item['remedy']}" for item in unreadable[:LISTED]]
        if len(unreadable) > LISTED:
            lines.append(f"and {len(unreadable) - LISTED} more")
        raise DataError(
            "\n  ".join(
                [f"{root}: {len(unreadable)} of {len(entries) + len(unreadable)} films cannot be used:", *lines]
            )
            + "\nMend or remove them, or leave them out with --on-unreadable skip (data.on_unreadable=skip)."
        )
    present = {("test" if entry.folder == "test" else "train", entry.label) for entry in entries}
    for folder in ("train", "test"):
        for label, name in enumerate(CLASSES):
            if (folder, label) not in present:
                raise DataError(f"{root}: {folder}/{name} holds no film that can be used; mend the files there")
