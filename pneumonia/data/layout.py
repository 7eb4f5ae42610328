"""Find the images below a folder, and those of the published folder layout; nothing is left out without a word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath

from pneumonia.config.schema import CLASSES
from pneumonia.data.listing import Listing, list_files
from pneumonia.data.manifest import FOLDERS
from pneumonia.data.patients import TABLE
from pneumonia.errors import DataError
from pneumonia.files import is_folder, printable

LAYOUT = "train/ and test/ (and, optionally, val/), with NORMAL/ and PNEUMONIA/ in each"
KINDS = "JPEG, PNG or DICOM"
_OWN = frozenset({TABLE, "phantom.json"})  # files that belong into a data set's root
LISTED = 5
INGESTED = "site_"
"""How the names of files begin that `pneumonia data ingest` has added, from the place of use."""


def is_ingested(path: str) -> bool:
    """Return whether an image was added by `pneumonia data ingest`, by its path below the root."""
    return PurePosixPath(path).name.startswith(INGESTED)


@dataclass(frozen=True)
class ImageFile:
    """A file that is an image according to its folder, and to its suffix or content.

    Attributes:
        file: its path.
        path: relative to the data's root, with forward slashes; bytes of the name that are no text, and control
            characters, are escaped (`pneumonia.files.printable`), so that any document can hold it.
        label: index into `pneumonia.config.schema.CLASSES`.
        folder: one of `pneumonia.data.manifest.FOLDERS`.
        size: bytes.
        changed: time of the last change, ns.
        stamp: changes whenever the file is written, replaced or moved: its inode, size, and times of change.
    """

    file: Path
    path: str
    label: int
    folder: str
    size: int
    changed: int
    stamp: tuple[int, ...] = ()


@dataclass(frozen=True)
class Survey:
    """What lies in a data set's folder.

    Attributes:
        images: sorted by path.
        passed_over: paths of the files that are no images, and of folders that the layout does not have (with a slash
            at the end, their contents not listed).
        litter: number of hidden files, and of files that operating systems leave behind.
    """

    images: tuple[ImageFile, ...]
    passed_over: tuple[str, ...]
    litter: int


def find_root(root: Path) -> Path:
    """Return the folder that holds train/ and test/: the given one, or the only such folder in it.

    Raises:
        DataError: there is none, or there are several.
    """
    remedy = f"name the folder that holds {LAYOUT}"
    try:
        inside = sorted(child for child in root.iterdir() if child.is_dir() and not child.name.startswith("."))
    except FileNotFoundError:
        raise DataError(f"{root}: does not exist; {remedy}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "is not a name of a folder"
        raise DataError(f"{root}: cannot be listed ({reason}); {remedy}") from error
    if _is_root(root):
        return root
    candidates = [child for child in inside if _is_root(child)]
    if len(candidates) == 1:
        return candidates[0]
    several = ", ".join(child.name for child in candidates)
    found = f"several folders to choose from ({several})" if several else "neither train/ nor test/"
    raise DataError(f"{root}: holds {found}; {remedy}")


def scan(root: Path) -> list[ImageFile]:
    """List all images below a root, sorted by path; see `survey`."""
    return list(survey(root).images)


def survey(root: Path) -> Survey:
    """List all images below a root, and what is passed over, without decoding anything.

    Raises:
        DataError: no root, no train or test folder, a class folder missing or without an image; one message names
            everything that is missing.
    """
    root = find_root(root)
    problems: list[str] = []
    images: list[ImageFile] = []
    passed_over, litter = _strangers(root, {*FOLDERS, *_OWN})
    for folder in FOLDERS:
        if not is_folder(root / folder):
            problems += [] if folder == "val" else [f"{folder}/ is missing"]
            continue
        strangers, hidden = _strangers(root / folder, CLASSES)
        passed_over += [f"{folder}/{name}" for name in strangers]
        litter += hidden
        for label, name in enumerate(CLASSES):
            place = root / folder / name
            found = list_files(place) if is_folder(place) else Listing()
            if not is_folder(place):
                problems.append(f"{folder}/{name}/ is missing")
            elif not found.images and folder != "val":
                problems.append(f"{folder}/{name}/ holds no image ({KINDS}){_instead(found)}")
            images += [_image(root, file, label, folder) for file in found.images]
            passed_over += [_relative(file, root) for file in found.others]
            litter += found.litter
    if problems:
        raise DataError(f"{root}: {'; '.join(problems)}. Required: {LAYOUT}")
    images.sort(key=lambda image: image.path)
    _check_names(root, images)
    return Survey(tuple(images), tuple(sorted(passed_over)), litter)


def summarise(passed_over: Sequence[str | Path], litter: int = 0) -> str:
    """Say what was passed over, with the names of the first files; empty where nothing was."""
    hidden = f"{litter} hidden or of an operating system" if litter else ""
    if not passed_over:
        return f"passed over: {hidden}" if hidden else ""
    names = ", ".join(printable(name) for name in passed_over[:LISTED])
    more = f" and {len(passed_over) - LISTED} more" if len(passed_over) > LISTED else ""
    text = f"passed over, because they are not {KINDS}: {len(passed_over)} ({names}{more})"
    return f"{text}; {hidden}" if hidden else text


def _instead(found: Listing) -> str:
    return f", only {', '.join(printable(file.name) for file in found.others[:LISTED])}" if found.others else ""


def _strangers(folder: Path, known: Sequence[str] | set[str]) -> tuple[list[str], int]:
    """Return the names in a folder that the layout does not have, and the number of those that nobody misses."""
    listing = list_files(folder, below=False)
    unknown = [name for name in (*listing.images, *listing.others) if name.name not in known]
    return [printable(path.name) + ("/" if is_folder(path) else "") for path in unknown], listing.litter


def _is_root(folder: Path) -> bool:
    return is_folder(folder / "train") or is_folder(folder / "test")


def _relative(file: Path, root: Path) -> str:
    return printable(file.relative_to(root).as_posix())


def _image(root: Path, file: Path, label: int, folder: str) -> ImageFile:
    path = _relative(file, root)
    try:
        status = file.stat()
    except OSError:
        return ImageFile(file, path, label, folder, 0, 0)  # a broken link; reading it raises the error
    stamp = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return ImageFile(file, path, label, folder, status.st_size, status.st_mtime_ns, stamp)


def _check_names(root: Path, images: Sequence[ImageFile]) -> None:
    """Refuse two files whose names are the same once escaped, which no table could tell apart."""
    for one, other in pairwise(images):
        if one.path == other.path:
            raise DataError(f"{root}: two files have names that are both shown as {one.path}; rename one of them")


def find_files(folder: Path) -> list[Path]:
    """List the images below a folder, sorted; see `pneumonia.data.listing.list_files`, which also says what is not."""
    return list(list_files(folder).images)
