"""Decode every image once into a memory-mapped array, whose name is a digest of its inputs."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumonia.config.schema import CLASSES, DataConfig, PreprocessConfig
from pneumonia.data import patients
from pneumonia.data.layout import ImageFile, find_root, scan
from pneumonia.data.manifest import Entry, Manifest
from pneumonia.data.patient_key import Pseudonyms
from pneumonia.data.split import assign
from pneumonia.errors import DataError
from pneumonia.files import AtomicFile
from pneumonia.imaging import radiograph
from pneumonia.imaging.image_statistics import COUNT, measure
from pneumonia.progress import Progress, silent
from pneumonia.source_digest import source_digest

log = logging.getLogger(__name__)

FORMAT = 3  # to be increased when the same file gives another entry; the code that makes pixels is in the key itself
LISTED = 20
POOL_FROM = 64  # decoding fewer images takes less time than starting the threads


@dataclass(frozen=True)
class Packed:
    """Decoded images and their manifest.

    Attributes:
        manifest: one entry per row of ``pixels``, split assigned.
        pixels: uint8 [N, size, size], a read-only memory map.
        features: float32 [N, image_statistics.COUNT], measures of each image's pixels before any equalisation.
        path: the array's file.
        unreadable: the images that were left out, each with the keys file, reason and remedy.
        phantom: any of the images is declared synthetic.
    """

    manifest: Manifest
    pixels: NDArray[np.uint8]
    features: NDArray[np.float32]
    path: Path
    unreadable: tuple[dict[str, str], ...]
    phantom: bool


@dataclass(frozen=True)
class _Row:
    entry: Entry
    pixels: bytes
    features: NDArray[np.float32]
    phantom: bool
    notes: tuple[str, ...]


def pack(
    root: Path, config: DataConfig, preprocess: PreprocessConfig, work: Path, progress: Progress = silent
) -> Packed:
    """Decode all images below ``root`` into ``work/pixels/<key>.npy``, or open the array of an earlier call.

    The key is a digest of the images' paths, sizes and times of change, the preprocessing and the code that decodes, so
    that a second call decodes nothing. Patients and split are assigned afterwards and are not part of the key. Decoding
    runs in threads: the decoders and the hash release the interpreter's lock, and threads work under any orchestrator.

    Args:
        root: holds train/ and test/ (and perhaps val/) with NORMAL/ and PNEUMONIA/ in each, or one folder that does.
        config: split, source of the patients, number of workers, what to do with unreadable images.
        preprocess: size and equalisation of the pixels.
        work: folder to write to.
        progress: called with the images done and all images.

    Raises:
        DataError: the layout is wrong, images are unreadable (all are listed at once), ``patients.csv`` does not list
            every image, or ``work`` cannot be written.
    """
    images = scan(root)
    pseudonyms = Pseudonyms(work)
    table = _table(root, images, pseudonyms)
    path = work / "pixels" / f"{_key(images, preprocess)}.npy"
    cached = _open(path, preprocess.size, pseudonyms)
    if cached is None:
        _write(images, root, config, preprocess, path, pseudonyms, progress)
        cached = _open(path, preprocess.size, pseudonyms)
        if cached is None:
            raise DataError(f"{path}: was changed or removed while it was written; run again")
    entries, pixels, features, record = cached
    _check(root, entries, record["unreadable"], config)
    manifest = Manifest(assign(_identified(entries, table, config), config))
    return Packed(manifest, pixels, features, path, tuple(record["unreadable"]), bool(record["phantom"]))


def _table(root: Path, images: Sequence[ImageFile], pseudonyms: Pseudonyms) -> dict[str, str] | None:
    inner = find_root(root)
    if inner != root and (root / patients.TABLE).is_file():
        raise DataError(f"{root / patients.TABLE}: lies above the data's root; move it to {inner}")
    return patients.read_table(inner, [image.path for image in images], pseudonyms)


def _identified(entries: Sequence[Entry], table: dict[str, str] | None, config: DataConfig) -> list[Entry]:
    """Return the entries, which hold a pseudonym or nothing, with their patients."""
    by_folder = config.patients == "folder"
    found = (patients.identify(e.path, pseudonym=e.patient, table=table, by_folder=by_folder) for e in entries)
    return [replace(e, patient=who.key, patient_source=who.source) for e, who in zip(entries, found, strict=True)]


def _key(images: Sequence[ImageFile], preprocess: PreprocessConfig) -> str:
    decoder = source_digest("pneumonia.imaging.radiograph", "pneumonia.imaging.image_statistics")
    versions = (FORMAT, decoder, *radiograph.library_versions())
    state = hashlib.sha256(repr((versions, preprocess.model_dump_json())).encode())
    for image in images:
        state.update(repr((image.path, image.size, image.changed)).encode("utf-8", "surrogateescape"))
    return state.hexdigest()[:24]


def _open(
    path: Path, size: int, pseudonyms: Pseudonyms
) -> tuple[tuple[Entry, ...], NDArray[np.uint8], NDArray[np.float32], dict[str, Any]] | None:
    """Open the four files of a finished packing; None without its record, which is written last."""
    record_path = path.with_suffix(".json")
    if not record_path.exists():
        return None
    table = path.with_suffix(".csv")
    try:
        record: dict[str, Any] = json.loads(record_path.read_text(encoding="utf-8"))
        entries = Manifest.load(table).entries
        pixels = np.load(path, mmap_mode="r", allow_pickle=False)
        features = np.load(_features(path), allow_pickle=False)
        complete = record["manifest_sha256"] == _sha256(table) and pixels.shape == (len(entries), size, size)
        complete = complete and features.shape == (len(entries), COUNT)
    except (OSError, EOFError, ValueError, TypeError, KeyError, DataError) as error:
        log.warning("%s cannot be used (%s); the images are decoded again", path, error)
        return None
    made_with = record.get("patient_key")
    if made_with is not None and made_with != pseudonyms.fingerprint:
        log.warning("%s has patients of another key; the images are decoded again", path)
        return None
    if not complete or pixels.dtype != np.uint8:
        log.warning("%s does not fit its manifest; the images are decoded again", path)
        return None
    return entries, pixels, features, record


def _features(path: Path) -> Path:
    return path.with_suffix(".features.npy")


def _write(
    images: Sequence[ImageFile],
    root: Path,
    config: DataConfig,
    preprocess: PreprocessConfig,
    path: Path,
    pseudonyms: Pseudonyms,
    progress: Progress,
) -> None:
    entries: list[Entry] = []
    features: list[NDArray[np.float32]] = []
    unreadable: list[dict[str, str]] = []
    notes: dict[str, tuple[str, ...]] = {}
    phantom = False
    with AtomicFile(path) as file:
        file.write(_header(len(images), preprocess.size))
        for done, row in enumerate(_decode_all(images, config, preprocess, pseudonyms), start=1):
            if isinstance(row, _Row):
                file.write(row.pixels)
                entries.append(row.entry)
                features.append(row.features)
                phantom |= row.phantom
                notes |= {row.entry.path: row.notes} if row.notes else {}
            else:
                unreadable.append(row)
            progress(done, len(images))
        _check(root, entries, unreadable, config)
        if notes:
            first = next(iter(notes))
            log.warning("%d image(s) leave open how they are to be shown; %s: %s", len(notes), first, notes[first][0])
        file.write(_header(len(entries), preprocess.size), at=0)
    content = io.BytesIO()
    np.save(content, np.stack(features), allow_pickle=False)
    with AtomicFile(_features(path)) as file:
        file.write(content.getvalue())
    table = path.with_suffix(".csv")
    Manifest(tuple(entries)).save(table)
    record = {
        "manifest_sha256": _sha256(table),
        # the key's name, not the key; None where no file has a PatientID
        "patient_key": pseudonyms.fingerprint if any(entry.patient for entry in entries) else None,
        "phantom": phantom,
        "notes": notes,
        "preprocess": preprocess.model_dump(),
        "unreadable": unreadable,
    }
    with AtomicFile(path.with_suffix(".json")) as file:
        file.write(json.dumps(record, indent=1).encode())


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _header(rows: int, size: int) -> bytes:
    """Return the header of a .npy file; NumPy pads it so that the number of rows can be rewritten in place."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (rows, size, size)})
    return header.getvalue()


def _decode_all(
    images: Sequence[ImageFile], config: DataConfig, preprocess: PreprocessConfig, pseudonyms: Pseudonyms
) -> Iterator[_Row | dict[str, str]]:
    """Decode in order, with few images in flight, so that a slow disk does not fill the memory."""
    workers = config.workers or _cores()
    if workers == 1 or len(images) < POOL_FROM:
        yield from (_decode(image, preprocess, pseudonyms) for image in images)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        pending: deque[Future[_Row | dict[str, str]]] = deque()
        try:
            for image in images:
                pending.append(pool.submit(_decode, image, preprocess, pseudonyms))
                if len(pending) >= 8 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _cores() -> int:
    """Return the number of cores that this process may use, in a container fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _decode(image: ImageFile, preprocess: PreprocessConfig, pseudonyms: Pseudonyms) -> _Row | dict[str, str]:
    try:
        content = radiograph.load(image.file)
        shown = radiograph.read_bytes(content, preprocess, name=image.path)
    except radiograph.UnreadableRadiograph as error:
        return {"file": image.path, "reason": error.reason, "remedy": error.remedy}
    pixels = shown.pixels.tobytes()
    entry = Entry(
        path=image.path,
        sha256=hashlib.sha256(content).hexdigest(),
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
    return _Row(entry, pixels, measure(shown.levels), shown.phantom, shown.notes)


def _pseudonym(content: bytes, pseudonyms: Pseudonyms) -> str:
    """Return the pseudonym of a DICOM file's PatientID, empty where there is none."""
    if not radiograph.is_dicom(content):
        return ""
    from pneumonia.imaging.dicom import read_patient_id  # half a second that JPEG sets do not need

    identifier = read_patient_id(content)
    return pseudonyms.of(identifier) if identifier else ""


def _check(root: Path, entries: Sequence[Entry], unreadable: Sequence[dict[str, str]], config: DataConfig) -> None:
    """Refuse unreadable images where they must not be left out, or where no image of a class would remain."""
    if unreadable and config.on_unreadable == "fail":
        lines = [f"{item['file']}: {item['reason']}; {item['remedy']}" for item in unreadable[:LISTED]]
        if len(unreadable) > LISTED:
            lines.append(f"and {len(unreadable) - LISTED} more")
        raise DataError(
            "\n  ".join(
                [f"{root}: {len(unreadable)} of {len(entries) + len(unreadable)} images cannot be used:", *lines]
            )
            + "\nReplace or remove them, or leave them out with --on-unreadable skip (data.on_unreadable=skip)."
        )
    present = {("test" if entry.folder == "test" else "train", entry.label) for entry in entries}
    for folder in ("train", "test"):
        for label, name in enumerate(CLASSES):
            if (folder, label) not in present:
                raise DataError(f"{root}: {folder}/{name} holds no image that can be used; replace the files there")
