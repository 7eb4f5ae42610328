"""Films out of a published archive or folder: only what belongs, once, and nowhere else."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from pneumonia.config.schema import CLASSES
from pneumonia.data.layout import SUFFIXES
from pneumonia.data.manifest import FOLDERS
from pneumonia.errors import DataError
from pneumonia.files import atomic_folder
from pneumonia.progress import Progress, silent

MAX_BYTES = 32 * 2**30
"""Unpacked size from which an archive is taken for a bomb; the published one has 1.2 GB."""
_LAYOUT = "train/ and test/ with NORMAL/ and PNEUMONIA/ in each"


def unzip(archive: Path, target: Path, progress: Progress = silent, origin: str = "") -> None:
    """Unpack the films of an archive; the folder appears complete or not at all.

    The published archive holds a second copy of everything (``chest_xray/chest_xray``), ``__MACOSX`` and
    ``.DS_Store``: only the outermost ``{train,val,test}/{NORMAL,PNEUMONIA}`` is taken, and only films from it.

    Args:
        archive: a zip file.
        target: folder to make.
        progress: called with (films unpacked, films in all).
        origin: what errors call the archive; its path by default.

    Raises:
        DataError: no zip file, a damaged or encrypted one, one with paths that lead out of the folder or with links,
            one without films, one that is too large, or no space.
    """
    origin = origin or str(archive)
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            _check_safe(origin, members)
            films = choose([member.filename for member in members if not member.is_dir()], origin)
            sizes = {member.filename: member.file_size for member in members}
            _check_size(origin, target, sum(sizes[name] for name in films))
            with atomic_folder(target) as folder:
                for done, (name, path) in enumerate(films.items(), start=1):
                    with opened.open(name) as source, _new(folder / path).open("wb") as file:
                        shutil.copyfileobj(source, file, 1 << 20)
                    progress(done, len(films))
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"{origin}: is damaged or no zip file ({error}); delete it and fetch it again") from error
    except (RuntimeError, NotImplementedError) as error:
        raise DataError(f"{origin}: cannot be unpacked ({error}); fetch the published archive") from error


def copy(source: Path, target: Path, progress: Progress = silent) -> None:
    """Bring the films of an unpacked archive to a folder, by hard links where the disk allows it.

    Raises:
        DataError: no films there, or no space.
    """
    names = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
    films = choose(names, str(source))
    with atomic_folder(target) as folder:
        for done, (name, path) in enumerate(films.items(), start=1):
            _link(source / name, _new(folder / path))
            progress(done, len(films))


def choose(names: Iterable[str], origin: str) -> dict[str, str]:
    """Which files are films of the data set, and where each belongs.

    Args:
        names: paths with forward slashes.
        origin: named in the error.

    Returns:
        Name to path below the data's root, from the outermost folder that holds the layout.

    Raises:
        DataError: the layout is not there, or it is there twice and neither lies in the other.
    """
    roots: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for name in names:
        *root, folder, label, file = ("", "", *PurePosixPath(name).parts)
        is_film = PurePosixPath(file).suffix.lower() in SUFFIXES and not file.startswith(".")
        if folder in FOLDERS and label in CLASSES and is_film and "__MACOSX" not in root:
            roots[tuple(root[2:])][name] = f"{folder}/{label}/{file}"
    if not roots:
        raise DataError(f"{origin}: holds no {_LAYOUT}; name the archive of the chest radiographs")
    outermost = min(roots, key=len)
    apart = [root for root in roots if root[: len(outermost)] != outermost]
    if apart:
        found = " and ".join("/".join(root) or "." for root in (outermost, *apart))
        raise DataError(f"{origin}: holds the layout in {found}; unpack one of them by hand and name its folder")
    there = {tuple(path.split("/")[:2]) for path in roots[outermost].values()}
    missing = [f"{folder}/{label}" for folder in ("train", "test") for label in CLASSES if (folder, label) not in there]
    if missing:
        raise DataError(f"{origin}: holds no films in {', '.join(missing)}; needed are {_LAYOUT}")
    return roots[outermost]


def _check_safe(origin: str, members: Iterable[zipfile.ZipInfo]) -> None:
    for member in members:
        path = PurePosixPath(name := member.orig_filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or name[1:2] == ":":
            raise DataError(f"{origin}: {name!r} leads out of the folder; this archive is not to be trusted, delete it")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise DataError(f"{origin}: {name!r} is a link; this archive is not to be trusted, delete it")


def _check_size(origin: str, target: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise DataError(f"{origin}: unpacks to {size} bytes, the limit is {MAX_BYTES}; this is not the published one")
    free = shutil.disk_usage(next(parent for parent in target.absolute().parents if parent.exists())).free
    if size > free:
        raise DataError(f"{target}: {size} bytes are needed and {free} are free; free space or choose another folder")


def _new(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)


def sha256_of(file: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
