"""Reach the files of a folder by one interface, whether it is on this machine or in an object store.

A place is named by a path, or by a URL as fsspec reads it: ``s3://bucket/folder``, ``gs://bucket/folder``,
``file:///mnt/share/folder``. Names in it are relative, with forward slashes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from pneumonia.credentials import HIDDEN, redacted
from pneumonia.data.listing import list_files
from pneumonia.errors import ConfigError, DataError
from pneumonia.files import expand_home, is_folder, locked_folder, printable, write_bytes
from pneumonia.imaging.radiograph import load

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
LOCAL = ("file", "local")


@dataclass(frozen=True)
class Contents:
    """The files of a place.

    Attributes:
        images: names, sorted folder by folder.
        others: names of what is no image.
        litter: number of hidden files, and of those that operating systems leave behind.
        digest: sha256 of the images' names, sizes and stamps: it changes with any of them.
    """

    images: tuple[str, ...]
    others: tuple[str, ...]
    litter: int
    digest: str


class Place(Protocol):
    """A folder, on this machine or in an object store.

    Attributes:
        url: its address, for processes elsewhere; it may hold a password, so messages show `str(place)`.
    """

    url: str

    def survey(self) -> Contents:
        """List all images below it, and what is none.

        Raises:
            DataError: it cannot be listed, or does not exist.
        """

    def read(self, name: str) -> bytes:
        """Return an image's content.

        Raises:
            UnreadableRadiograph: it is missing or too large: a fault of this file.
            DataError: the place cannot be used: a fault of all files.
        """

    def has(self, name: str) -> bool:
        """Return whether there is a file of this name."""

    def text(self, name: str) -> str | None:
        """Return a small text file; None where there is none."""

    def create(self, name: str, text: str) -> bool:
        """Write a small text file unless there is one; return whether this call has written it."""

    def names(self) -> set[str]:
        """Return the names of the files directly in it; none where it does not exist."""

    def fetch(self, name: str) -> bytes:
        """Return the content of a file that was published here.

        Raises:
            DataError: it is gone, or cannot be read.
        """

    def publish(self, name: str, write: Callable[[Path], None], scratch: Place | None = None) -> None:
        """Let a file appear as a whole.

        Args:
            name: of the file.
            write: writes it to a path of this machine.
            scratch: another place for what is not finished, on the same disk.

        Raises:
            DataError: it cannot be written.
        """

    def child(self, name: str) -> Place:
        """Return a folder in it."""

    def locked(self) -> AbstractContextManager[None]:
        """Make the folder, and hold it for this process, where that is possible."""

    def remove(self) -> None:
        """Remove the folder with its files."""


def is_url(text: str) -> bool:
    """Return whether a text names a place by a URL, also one of this machine."""
    return _SCHEME.match(text) is not None


def check_address(text: str) -> None:
    """Refuse a URL with a user, a password or a query: libraries, logs and orchestrators would repeat them.

    A user's name alone is taken where a protocol has no other way to say it, such as ``sftp://me@host/folder``.

    Raises:
        ConfigError: it holds one; the message repeats neither.
    """
    found = _SCHEME.match(text)
    if found is None or found[1].lower() in LOCAL:
        return
    server, _, path = text[found.end() :].partition("/")
    bare = found[1].lower() in ("s3", "s3a", "gs", "gcs", "http", "https")
    if "?" in server + path:
        raise ConfigError(
            f"{_without_query(text)}: has a query (?), which is no part of a folder's address; leave it out, and give "
            "credentials as docs/scale.md says"
        )
    if (bare and "@" in server) or redacted(text) != text:
        raise ConfigError(
            f"{found[1]}://{HIDDEN}: holds a user or a password; leave them out, and give credentials as docs/scale.md "
            "says: in the variables, files or roles of the library"
        )


def _without_query(text: str) -> str:
    """Return a URL up to its query, without any user in it."""
    head = text.partition("?")[0]
    scheme, _, rest = head.partition("://")
    return f"{scheme}://{HIDDEN}{rest[rest.rfind('@') :]}" if "@" in rest else head


def open_place(text: str) -> Place:
    """Return the place that a path or URL names; nothing is read yet.

    Raises:
        ConfigError: a URL that cannot be used; the message names what is missing.
    """
    found = _SCHEME.match(text)
    if found is None:
        return LocalPlace(Path(_expanded(text)))
    if found[1].lower() in LOCAL:
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost"):
            raise ConfigError(f"{redacted(text)}: names a machine; mount its share, and write file:///PATH")
        return LocalPlace(Path(unquote(parts.path)))
    from pneumonia.data.object_store import RemotePlace

    return RemotePlace.open(text)


def open_file(text: str) -> tuple[Place, str]:
    """Return the place of a file that a path or URL names, and the file's name in it.

    Raises:
        ConfigError: see `open_place`; also a URL without a file.
    """
    head, _, name = text.rstrip("/").rpartition("/")
    if not name or (is_url(text) and head.endswith((":/", ":"))):
        raise ConfigError(f"{redacted(text)}: names no file; write the whole address, with the file's name")
    return open_place(head or ("/" if text.startswith("/") else ".")), name


def order(name: str) -> list[str]:
    """Return the key by which names are sorted: folder by folder, as paths are."""
    return name.split("/")


class LocalPlace:
    """A folder of this machine, or a share that is mounted here."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = str(path.absolute())

    def __str__(self) -> str:
        return printable(self.path)

    def survey(self) -> Contents:
        if not is_folder(self.path):
            raise DataError(f"{self}: is no folder; for single files: pneumonia predict FILE")
        found = list_files(self.path)
        state = hashlib.sha256()
        images = []
        for file in sorted(found.images):
            name = file.relative_to(self.path).as_posix()
            images.append(name)
            try:
                stamp = file.stat()
                state.update(os.fsencode(name) + f"\0{stamp.st_size}\0{stamp.st_mtime_ns}\n".encode())
            except OSError:  # a broken link: it has a row that says so
                state.update(os.fsencode(name) + b"\0\n")
        others = tuple(file.relative_to(self.path).as_posix() for file in found.others)
        return Contents(tuple(images), others, found.litter, state.hexdigest())

    def read(self, name: str) -> bytes:
        return load(self.path / name)

    def has(self, name: str) -> bool:
        return os.path.lexists(self.path / name)

    def text(self, name: str) -> str | None:
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def create(self, name: str, text: str) -> bool:
        if (self.path / name).exists():  # the folder is locked: there is no other writer
            return False
        write_bytes(self.path / name, text.encode())
        return True

    def names(self) -> set[str]:
        try:
            return {entry.name for entry in os.scandir(self.path) if entry.is_file()}
        except FileNotFoundError:
            return set()

    def fetch(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise DataError(f"{self}/{name}: cannot be read ({error.strerror}); run the same command again") from error

    def publish(self, name: str, write: Callable[[Path], None], scratch: Place | None = None) -> None:
        folder = scratch.path if isinstance(scratch, LocalPlace) else self.path
        temporary = folder / f".{name}.{os.getpid()}.{os.urandom(4).hex()}.tmp"  # several may write the same
        try:
            write(temporary)
            temporary.replace(self.path / name)
        except OSError as error:
            remedy = "free space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "make the folder writable"
            raise DataError(
                f"{self}/{printable(name)}: cannot be written ({error.strerror or error}); {remedy}, then run again"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)

    def child(self, name: str) -> LocalPlace:
        return LocalPlace(self.path / name)

    def locked(self) -> AbstractContextManager[None]:
        return locked_folder(self.path, "writes this result", "name another place")

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def _expanded(text: str) -> str:
    try:
        return expand_home(text)
    except ValueError as error:
        raise ConfigError(f"{text}: {error}") from None
