"""List the files below a folder: which are images, which are not, and which nobody misses."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pneumonia.errors import DataError
from pneumonia.files import is_folder, is_regular_file
from pneumonia.imaging.radiograph import DICOM_WITHIN, is_dicom
from pneumonia.imaging.raster import JPEG_MAGIC, PNG_MAGIC

SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".dcm", ".dicom"})
HEAD = DICOM_WITHIN + 256
"""Number of bytes that tell an image; DICOM's file meta information names the kind of object in them."""
_MEDIA_DIRECTORY = b"1.2.840.10008.1.3.10"  # the SOP class of a DICOMDIR: DICOM without an image (PS3.4, I.4)
_MEDIA_DIRECTORY_NAME = "dicomdir"
_LITTER = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "#recycle", "$recycle.bin",
     "system volume information", "lost+found"}
)  # fmt: skip
"""What Windows, macOS, Synology's and other file systems put between other people's files, in lower case."""


@dataclass(frozen=True)
class Listing:
    """The files below a folder.

    Attributes:
        images: sorted.
        others: what is no image, or no file, sorted.
        litter: number of hidden files and folders, and of those that operating systems leave behind.
    """

    images: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()
    litter: int = 0


def list_files(folder: Path, *, below: bool = True) -> Listing:
    """List every file below the folder.

    An image has one of `SUFFIXES`, or the content of a JPEG, PNG or DICOM file: a PACS exports files without a suffix,
    or with a UID for a name, of which the last number looks like one. What cannot be read, such as a broken link, is
    listed as an image, so that whoever reads it says what is wrong.

    Links to folders are followed, each folder once, and none to a folder that holds this one. A link to a file that is
    in the list itself is not listed again.

    Args:
        folder: the folder.
        below: also look into its folders; otherwise they are listed with the others.

    Raises:
        DataError: the folder or one below it cannot be listed.
    """
    walk = _Walk(folder, below=below)
    images: list[Path] = []
    others = walk.others
    for file in walk.files():
        (images if is_image(file) else others).append(file)
    return Listing(tuple(sorted(images)), tuple(sorted(others)), walk.litter)


def is_image(file: Path) -> bool:
    """Return whether a file is an image by its suffix or its content, or cannot be read."""
    if has_image_suffix(file.name):
        return True
    if file.name.casefold().partition(";")[0] == _MEDIA_DIRECTORY_NAME:
        return False
    try:
        with file.open("rb") as opened:
            return has_image_content(opened.read(HEAD))
    except OSError:
        return True


def has_image_suffix(name: str) -> bool:
    """Return whether a name has one of `SUFFIXES`, in any case."""
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122 — it is asked 100,000 times


def has_image_content(head: bytes) -> bool:
    """Return whether a file's first `HEAD` bytes are those of a JPEG, a PNG or a DICOM file that may hold an image."""
    if head.startswith((JPEG_MAGIC, PNG_MAGIC)):
        return True
    return is_dicom(head) and _MEDIA_DIRECTORY not in head[:HEAD]


def is_litter(name: str) -> bool:
    """Return whether a file or folder of this name is hidden, or left behind by an operating system."""
    return name.startswith(".") or name.casefold() in _LITTER


class _Walk:
    """A walk through a folder that reaches every folder once, over links too."""

    def __init__(self, start: Path, *, below: bool) -> None:
        real = os.path.realpath(start)
        self.others: list[Path] = []
        self.litter = 0
        self._below = below
        self._above = {str(parent) for parent in Path(real).parents}
        self._seen = {real}
        self._pending = deque([(str(start), real)])
        self._links: deque[Path] = deque()
        self._file_links: deque[Path] = deque()

    def files(self) -> Iterator[Path]:
        """Yield every regular file and every broken link."""
        reached: list[tuple[str, str]] = []  # real folder and name of every file
        while self._next_folder():
            place, real = self._pending.popleft()
            for entry in _entries(place):
                if self._is_file(entry, real):
                    reached.append((real, entry.name))
                    yield Path(entry.path)
        yield from self._linked(reached)

    def _next_folder(self) -> bool:
        """Return whether a folder is pending; links are followed last, so that a folder keeps its own name."""
        while not self._pending and self._links:
            link = self._links.popleft()
            target = os.path.realpath(link)
            if target in self._above:
                self.others.append(link)
            else:
                self._add(str(link), target)
        return bool(self._pending)

    def _add(self, place: str, real: str) -> None:
        if real not in self._seen:
            self._seen.add(real)
            self._pending.append((place, real))

    def _is_file(self, entry: os.DirEntry[str], real: str) -> bool:
        """Return whether an entry is a regular file; remember what else it is."""
        if is_litter(entry.name):
            self.litter += 1
        elif entry.is_symlink():
            links = self._links if self._below and is_folder(entry.path) else self._file_links
            links.append(Path(entry.path))
        elif entry.is_dir() and self._below:
            self._add(entry.path, os.path.join(real, entry.name))  # noqa: PTH118
        elif entry.is_file():
            return True
        else:  # a folder that is not to be looked into, or a pipe or device, which would never end
            self.others.append(Path(entry.path))
        return False

    def _linked(self, reached: list[tuple[str, str]]) -> Iterator[Path]:
        files = {os.path.join(*place) for place in reached} if self._file_links else set()  # noqa: PTH118
        for link in self._file_links:
            if os.path.exists(link) and not is_regular_file(link):  # noqa: PTH110
                self.others.append(link)
            elif os.path.realpath(link) not in files:
                yield link


def _entries(place: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(place) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(
            f"{error.filename}: the folder cannot be listed ({error.strerror}); check the name and the permissions"
        ) from error
