"""Extract the images of a published archive or folder: each once, and nothing outside the target folder."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import stat
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path, PurePosixPath

from pneumonia.config.schema import CLASSES
from pneumonia.data.layout import summarise
from pneumonia.data.listing import HEAD, has_image_content, has_image_suffix, is_image, is_litter
from pneumonia.data.manifest import FOLDERS
from pneumonia.errors import DataError
from pneumonia.files import atomic_folder
from pneumonia.progress import Progress, silent

MAX_BYTES = 32 * 2**30
"""Largest unpacked size, bytes; a larger archive is refused as a decompression bomb. The published one has 1.2 GB."""
_LAYOUT = "train/ and test/ with NORMAL/ and PNEUMONIA/ in each"
log = logging.getLogger(__name__)


def unzip(archive: Path, target: Path, progress: Progress = silent, origin: str = "") -> None:
    """Unpack the images of an archive into an atomic folder.

    The published archive holds a second copy of everything (``chest_xray/chest_xray``), ``__MACOSX`` and
    ``.DS_Store``: only the outermost ``{train,val,test}/{NORMAL,PNEUMONIA}`` is taken, and only images from it, which
    are recognised as `pneumonia.data.listing` does. Names may have backslashes for slashes, as some Windows programs
    write them.

    Args:
        archive: a zip file.
        target: folder to create.
        progress: called with (images unpacked, images in all).
        origin: name of the archive in errors; its path by default.

    Raises:
        DataError: not a zip file, a damaged or encrypted one, one with paths outside the folder or with links, one
            without images, one that is too large, or no space.
    """
    origin = origin or str(archive)
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            _check_safe(origin, members)
            files = [member.filename for member in members if not member.filename.endswith(("/", "\\"))]
            images = choose(files, origin, lambda name: _is_image(opened, name))
            sizes = {member.filename: member.file_size for member in members}
            _check_size(origin, target, sum(sizes[name] for name in images))
            with atomic_folder(target) as folder:
                for done, (name, path) in enumerate(images.items(), start=1):
                    with opened.open(name) as source, _new(folder / path).open("wb") as file:
                        shutil.copyfileobj(source, file, 1 << 20)
                    progress(done, len(images))
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"{origin}: is damaged or not a zip file ({error}); delete it and fetch it again") from error
    except (RuntimeError, NotImplementedError) as error:
        raise DataError(f"{origin}: cannot be unpacked ({error}); fetch the published archive") from error


def copy(source: Path, target: Path, progress: Progress = silent) -> None:
    """Copy the images of an unpacked archive to a folder, by hard links where the file system allows it.

    Raises:
        DataError: no images there, or no space.
    """
    names = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
    images = choose(names, str(source), lambda name: is_image(source / name))
    with atomic_folder(target) as folder:
        for done, (name, path) in enumerate(images.items(), start=1):
            _link(source / name, _new(folder / path))
            progress(done, len(images))


def choose(names: Iterable[str], origin: str, is_image: Callable[[str], bool] = has_image_suffix) -> dict[str, str]:
    """Choose the files that are images of the data set, with their path in it; log what else lies beside them.

    Args:
        names: paths with slashes, or with backslashes for them.
        origin: name of the archive in errors.
        is_image: whether a file of that name is an image.

    Returns:
        Name to path below the data's root, from the outermost folder that holds the layout.

    Raises:
        DataError: the layout is missing, or occurs twice and neither is inside the other, or two files have one path.
    """
    roots: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    others: list[str] = []
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/")).parts
        at = next((at for at, pair in enumerate(pairwise(parts[:-1])) if pair[0] in FOLDERS and pair[1] in CLASSES), -1)
        if at < 0 or any(map(is_litter, parts)):
            continue
        if is_image(name):
            roots[parts[:at]][name] = "/".join(parts[at:])
        else:
            others.append(name)
    if others:
        log.warning("%s: %s", origin, summarise(sorted(others)))
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
        raise DataError(f"{origin}: holds no images in {', '.join(missing)}; required: {_LAYOUT}")
    _check_unique(origin, roots[outermost])
    return roots[outermost]


def _is_image(archive: zipfile.ZipFile, name: str) -> bool:
    if has_image_suffix(name):
        return True
    with archive.open(name) as opened:
        return has_image_content(opened.read(HEAD))


def _check_unique(origin: str, paths: dict[str, str]) -> None:
    names: dict[str, str] = {}
    for name, path in paths.items():
        if names.setdefault(path, name) != name:
            raise DataError(f"{origin}: {names[path]!r} and {name!r} are both {path}; rename one of them there")


def _check_safe(origin: str, members: Iterable[zipfile.ZipInfo]) -> None:
    for member in members:
        path = PurePosixPath(name := member.orig_filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or name[1:2] == ":":
            raise DataError(f"{origin}: {name!r} is outside the folder; do not trust this archive, delete it")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise DataError(f"{origin}: {name!r} is a link; do not trust this archive, delete it")


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
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
