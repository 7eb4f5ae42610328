"""Decode every image once into a memory-mapped array, whose name is a digest of its inputs."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumonia.config.schema import CLASSES, DataConfig, PreprocessConfig
from pneumonia.data import patients
from pneumonia.data.decoding import Row, decode_all, threads
from pneumonia.data.digests import Digest, digest_files
from pneumonia.data.layout import ImageFile, find_root, summarise, survey
from pneumonia.data.manifest import Entry, Manifest
from pneumonia.data.patient_key import Pseudonyms
from pneumonia.data.split import assign
from pneumonia.errors import DataError
from pneumonia.files import AtomicFile
from pneumonia.imaging import radiograph
from pneumonia.imaging.image_statistics import COUNT
from pneumonia.progress import Progress, silent
from pneumonia.source_digest import source_digest
from pneumonia.timing import timed

log = logging.getLogger(__name__)

FORMAT = 4  # to be increased when the same file gives another entry; the code that makes pixels is in the key itself
LISTED = 20


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
        passed_over: files below the root that are no images.
        litter: number of hidden files, and of those that operating systems leave behind.
        md5: DVC's digest of the content of every image that was decoded, by its file.
    """

    manifest: Manifest
    pixels: NDArray[np.uint8]
    features: NDArray[np.float32]
    path: Path
    unreadable: tuple[dict[str, str], ...]
    phantom: bool
    passed_over: tuple[str, ...] = ()
    litter: int = 0
    md5: Mapping[Path, str] = field(default_factory=dict)


def pack(
    root: Path, config: DataConfig, preprocess: PreprocessConfig, work: Path, progress: Progress = silent
) -> Packed:
    """Decode all images below ``root`` into ``work/pixels/<key>.npy``, or open the array of an earlier call.

    The key is a digest of the images' paths and contents, the preprocessing and the code that decodes, so that a second
    call decodes nothing, and two data sets share an array only if they are equal. Patients and split are assigned
    afterwards and are not part of the key. Decoding runs in threads: the decoders and the hash release the
    interpreter's lock, and threads work under any orchestrator.

    Args:
        root: holds train/ and test/ (and perhaps val/) with NORMAL/ and PNEUMONIA/ in each, or one folder that does.
        config: split, source of the patients, number of workers, what to do with unreadable images.
        preprocess: size and equalisation of the pixels.
        work: folder to write to.
        progress: called with the images done and all images.

    Raises:
        DataError: the layout is wrong, images are unreadable (all are listed at once), ``patients.csv`` does not list
            every image, a file changes while it is read, or ``work`` cannot be written.
    """
    with timed("finding the files"):
        found = survey(root)
    images = found.images
    if found.passed_over:
        log.warning("%s: %s", root, summarise(found.passed_over, found.litter))
    if tables := patients.misplaced(found.passed_over):
        log.warning("%s: %s: not used; %s", root, ", ".join(tables), patients.TABLE_PLACE)
    pseudonyms = Pseudonyms(work)
    table = _table(root, images, pseudonyms)
    with timed("hashing the files"):
        digests = digest_files(images, root, work, threads(config, images))
    path = work / "pixels" / f"{_key(images, digests, preprocess)}.npy"
    cached = _open(path, preprocess.size, pseudonyms)
    if cached is None:
        _write(images, digests, root, config, preprocess, path, pseudonyms, progress)
        cached = _open(path, preprocess.size, pseudonyms)
        if cached is None:
            raise DataError(f"{path}: was changed or removed while it was written; run again")
    entries, pixels, features, record = cached
    _check(root, entries, record["unreadable"], config)
    manifest = Manifest(assign(_identified(entries, table, config), config))
    return Packed(
        manifest,
        pixels,
        features,
        path,
        unreadable=tuple(record["unreadable"]),
        phantom=bool(record["phantom"]),
        passed_over=found.passed_over,
        litter=found.litter,
        md5={image.file: digest.md5 for image, digest in zip(images, digests, strict=True) if digest.md5},
    )


def open_pixels(path: Path) -> NDArray[np.uint8]:
    """Open the array of a packing, uint8 [N, S, S], as a read-only memory map.

    Raises:
        DataError: it was removed or damaged since.
    """
    pixels: NDArray[np.uint8] = _array(path)
    return pixels


def open_statistics(path: Path) -> NDArray[np.float32]:
    """Open the measures of a packing's images before any equalisation, float32 [N, image_statistics.COUNT].

    Args:
        path: of the array of pixels.

    Raises:
        DataError: they were removed or damaged since.
    """
    found: NDArray[np.float32] = _array(_features(path))
    return found


def _array(path: Path) -> Any:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is damaged"
        raise DataError(
            f"{path}: the decoded images cannot be opened ({reason}); run the pipeline again from prepare_data, which "
            "makes them anew"
        ) from error


def _table(root: Path, images: Sequence[ImageFile], pseudonyms: Pseudonyms) -> dict[str, str] | None:
    inner = find_root(root)
    above = [file for file in root.iterdir() if file.name.casefold() == patients.TABLE] if inner != root else []
    if above:
        raise DataError(f"{above[0]}: lies above the data's root; move it to {inner / patients.TABLE}")
    return patients.read_table(inner, [image.path for image in images], pseudonyms)


def _identified(entries: Sequence[Entry], table: dict[str, str] | None, config: DataConfig) -> list[Entry]:
    """Return the entries, which hold a pseudonym or nothing, with their patients."""
    by_folder = config.patients == "folder"
    found = (patients.identify(e.path, pseudonym=e.patient, table=table, by_folder=by_folder) for e in entries)
    return [replace(e, patient=who.key, patient_source=who.source) for e, who in zip(entries, found, strict=True)]


def _key(images: Sequence[ImageFile], digests: Sequence[Digest], preprocess: PreprocessConfig) -> str:
    decoder = source_digest("pneumonia.imaging.radiograph", "pneumonia.imaging.image_statistics")
    versions = (FORMAT, decoder, *radiograph.library_versions())
    state = hashlib.sha256(repr((versions, preprocess.model_dump_json())).encode())
    for image, digest in zip(images, digests, strict=True):
        state.update(repr((image.path, digest.sha256, digest.problem)).encode("utf-8", "surrogateescape"))
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


@timed("decoding")
def _write(
    images: Sequence[ImageFile],
    digests: Sequence[Digest],
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
        for done, row in enumerate(decode_all(images, digests, config, preprocess, pseudonyms), start=1):
            if isinstance(row, Row):
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
