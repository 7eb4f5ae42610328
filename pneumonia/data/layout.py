"""Find the images of the published folder layout."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from pneumonia.config.schema import CLASSES
from pneumonia.data.manifest import FOLDERS
from pneumonia.errors import DataError
from pneumonia.imaging.radiograph import DICOM_WITHIN, is_dicom

log = logging.getLogger(__name__)

LAYOUT = "train/ and test/ (and, optionally, val/), with NORMAL/ and PNEUMONIA/ in each"


@dataclass(frozen=True)
class ImageFile:
    """A file that is an image according to its folder and suffix.

    Attributes:
        file: its path.
        path: relative to the data's root, with forward slashes.
        label: index into `pneumonia.config.schema.CLASSES`.
        folder: one of `pneumonia.data.manifest.FOLDERS`.
        size: bytes.
        changed: time of the last change, ns.
    """

    file: Path
    path: str
    label: int
    folder: str
    size: int
    changed: int


def find_root(root: Path) -> Path:
    """Return the folder that holds train/ and test/: the given one, or the only such folder in it.

    Raises:
        DataError: there is none, or there are several.
    """
    if not root.exists():
        raise DataError(f"{root}: does not exist; name the folder that holds {LAYOUT}")
    try:
        inside = sorted(child for child in root.iterdir() if child.is_dir() and not child.name.startswith("."))
    except OSError as error:
        raise DataError(f"{root}: cannot be listed ({error.strerror}); name the folder that holds {LAYOUT}") from error
    if _is_root(root):
        return root
    candidates = [child for child in inside if _is_root(child)]
    if len(candidates) == 1:
        return candidates[0]
    several = ", ".join(child.name for child in candidates)
    found = f"several folders to choose from ({several})" if several else "neither train/ nor test/"
    raise DataError(f"{root}: holds {found}; name the folder that holds {LAYOUT}")


def scan(root: Path) -> list[ImageFile]:
    """List all images below a root, sorted by path, without decoding them.

    Raises:
        DataError: no root, no train or test folder, a class folder missing or without an image; one message names
            everything that is missing.
    """
    root = find_root(root)
    problems: list[str] = []
    images: list[ImageFile] = []
    for folder in FOLDERS:
        if not (root / folder).is_dir():
            problems += [] if folder == "val" else [f"{folder}/ is missing"]
            continue
        for label, name in enumerate(CLASSES):
            place = root / folder / name
            files = _images(place) if place.is_dir() else []
            if not place.is_dir():
                problems.append(f"{folder}/{name}/ is missing")
            elif not files and folder != "val":
                problems.append(f"{folder}/{name}/ holds no image ({', '.join(sorted(SUFFIXES))})")
            images += [_image(root, file, label, folder) for file in files]
    if problems:
        raise DataError(f"{root}: {'; '.join(problems)}. Required: {LAYOUT}")
    return sorted(images, key=lambda image: image.path)


def _is_root(folder: Path) -> bool:
    return (folder / "train").is_dir() or (folder / "test").is_dir()


def _images(place: Path) -> list[Path]:
    files = list_files(place)
    images = [file for file in files if _is_image(file)]
    if len(images) < len(files):
        others = ", ".join(sorted({file.suffix.lower() or file.name for file in set(files) - set(images)})[:5])
        log.warning("%s: %d file(s) of other kinds are ignored (%s)", place, len(files) - len(images), others)
    return images


def _image(root: Path, file: Path, label: int, folder: str) -> ImageFile:
    path = file.relative_to(root).as_posix()
    try:
        status = file.stat()
    except OSError:
        return ImageFile(file, path, label, folder, 0, 0)  # a broken link; reading it raises the error
    return ImageFile(file, path, label, folder, status.st_size, status.st_mtime_ns)


SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".dcm", ".dicom"})
_INDEX = "DICOMDIR"  # of an exported medium: DICOM without an image


def find_files(folder: Path) -> list[Path]:
    """List every regular, non-hidden file below the folder with one of `SUFFIXES` or DICOM content, sorted.

    A PACS exports files without a suffix, or with a UID for a name, of which the last number looks like one. A broken
    link is listed too, so that it is reported as missing instead of ignored.

    Raises:
        DataError: the folder or one below it cannot be listed.
    """
    return [file for file in list_files(folder) if _is_image(file)]


def list_files(folder: Path) -> list[Path]:
    """List every regular, non-hidden file below the folder, sorted; see `find_files`."""
    found: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=_cannot_list):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(file for file in found if file.is_file() or not file.exists())


def _is_image(file: Path) -> bool:
    if file.suffix.lower() in SUFFIXES:
        return True
    if file.name == _INDEX:
        return False
    try:
        with file.open("rb") as opened:
            return is_dicom(opened.read(DICOM_WITHIN))
    except OSError:  # nothing says that it is an image
        return False


def _cannot_list(error: OSError) -> None:
    raise DataError(
        f"{error.filename}: the folder cannot be listed ({error.strerror}); check the name and the permissions"
    )
