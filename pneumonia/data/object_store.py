"""Reach a folder in an object store, S3 or Google Cloud Storage, through fsspec.

Credentials are the libraries' own, from the environment or the machine's role; they are neither read nor repeated here.
"""

from __future__ import annotations

import hashlib
import logging
import socket
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pneumonia.credentials import redacted
from pneumonia.data.listing import HEAD, has_image_content, has_image_suffix, is_litter
from pneumonia.data.places import Contents, Place, check_address, order
from pneumonia.errors import ConfigError, DataError
from pneumonia.imaging.radiograph import MAX_BYTES, UnreadableRadiograph

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

READERS = 16
"""Requests at a time: an object store answers each after tens of milliseconds, and many at once."""
CONNECT_SECONDS, SILENT_SECONDS = 10.0, 60.0
"""How long is waited for a connection, and for a server that has begun to say nothing."""
APPEARS_WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "memory", "abfs", "az"})
"""Protocols whose files appear when they are complete; on others a file is written under another name and moved."""
CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the machine's role; AWS_ENDPOINT_URL for "
    "another server than Amazon's",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, gcloud auth application-default login, or the machine's service account",
}
_STAMPS = ("ETag", "etag", "md5Hash", "generation", "mtime", "LastModified", "updated")
_VERSION = "?versionId="
_LIBRARIES = ("botocore", "aiobotocore", "s3fs", "gcsfs", "google", "aiohttp", "fsspec", "asyncio")


class RemotePlace:
    """A folder in an object store; it exists as soon as it holds a file."""

    def __init__(self, url: str, files: AbstractFileSystem, root: str) -> None:
        self.url = url.rstrip("/")
        self._files, self._root = files, root.rstrip("/")
        protocol = files.protocol
        self._protocol = protocol if isinstance(protocol, str) else protocol[0]

    def __str__(self) -> str:
        return redacted(self.url)

    @classmethod
    def open(cls, url: str) -> RemotePlace:
        """Return the place of a URL.

        Raises:
            ConfigError: fsspec does not know the protocol, its library is missing, no bucket is named, or the address
                holds what is nobody's business.
            DataError: the server of Google Cloud Storage, or of an HTTP address, cannot be connected to.
        """
        check_address(url)
        shown = redacted(url)
        _quiet()
        try:
            import fsspec

            files, root = fsspec.url_to_fs(url, **_bounds(url))
        except ImportError as error:
            raise ConfigError(
                f"{shown}: needs a library that is not installed here ({error.name or error}); for s3:// and gs://: "
                "pip install 'pneumonia[storage]'"
            ) from None
        except ValueError as error:
            raise ConfigError(f"{shown}: is no address that can be used ({redacted(str(error))})") from None
        except OSError as error:  # protocols that connect at once
            raise DataError(f"{shown}: {_problem(error, url.partition(':')[0])}") from error
        if not str(root).strip("/"):
            raise ConfigError(f"{shown}: names no bucket; write s3://BUCKET/FOLDER or gs://BUCKET/FOLDER")
        _check_reachable(shown, files, url)
        return cls(url, files, str(root))

    def survey(self) -> Contents:
        with self._explained():
            self._files.invalidate_cache()
            found: dict[str, dict[str, Any]] = self._files.find(self._root, detail=True)
        listed = {path.removeprefix(self._root).removeprefix("/"): info for path, info in found.items()}
        names = sorted(listed, key=order)
        kept = [name for name in names if name and not _is_litter(name)]
        images, others = self._divided(kept)
        if not found:
            raise DataError(f"{self}: holds nothing; check the address, which ends in a folder of images")
        state = hashlib.sha256()
        for name in images:
            info = listed[name]
            stamp = next((str(info[key]) for key in _STAMPS if info.get(key)), "")
            state.update(f"{name}\0{info.get('size')}\0{stamp}\n".encode())
        return Contents(tuple(images), tuple(others), len(names) - len(kept), state.hexdigest())

    def _divided(self, names: list[str]) -> tuple[list[str], list[str]]:
        """Divide names into images and others; the first bytes tell where the suffix does not."""
        unknown = [name for name in names if not has_image_suffix(PurePosixPath(name).name)]
        with ThreadPoolExecutor(READERS) as pool:
            other = {name for name, image in zip(unknown, pool.map(self._is_image, unknown), strict=True) if not image}
        return [name for name in names if name not in other], sorted(other)

    def _is_image(self, name: str) -> bool:
        """Return whether a file is an image by its content, or cannot be read: whoever reads it says what is wrong."""
        with self._explained():
            try:
                return has_image_content(self._first(name, HEAD))
            except (FileNotFoundError, IsADirectoryError):
                return True

    def _first(self, name: str, count: int) -> bytes:
        """Return the first bytes of a file, all of them where it has fewer."""
        try:
            return bytes(self._files.cat_file(self._path(name), start=0, end=count))
        except (FileNotFoundError, IsADirectoryError, PermissionError):
            raise
        except OSError as error:
            if "range" not in str(error).lower():  # an empty object has no range
                raise
            return b""

    def read(self, name: str) -> bytes:
        with self._explained():
            try:
                content = self._first(name, MAX_BYTES + 1)
            except (FileNotFoundError, IsADirectoryError):
                if _VERSION in name:
                    reason = f"has a name with {_VERSION}, which the library takes for an object's version"
                    raise UnreadableRadiograph(f"{self}/{name}", reason, "copy it to another name") from None
                raise UnreadableRadiograph(f"{self}/{name}", "does not exist any more", "check the name") from None
        if len(content) > MAX_BYTES:
            reason = f"is more than the limit of {MAX_BYTES // 2**20} MiB"
            raise UnreadableRadiograph(f"{self}/{name}", reason, "reduce it, or remove it", "too_large")
        return content

    def has(self, name: str) -> bool:
        with self._explained():
            self._files.invalidate_cache()
            return bool(self._files.exists(self._path(name)))

    def text(self, name: str) -> str | None:
        with self._explained():
            try:
                return bytes(self._files.cat_file(self._path(name))).decode()
            except FileNotFoundError:
                return None

    def create(self, name: str, text: str) -> bool:
        with self._explained():
            try:
                self._files.pipe_file(self._path(name), text.encode(), mode="create")
            except FileExistsError:
                return False
        return True

    def names(self) -> set[str]:
        with self._explained():
            self._files.invalidate_cache()
            try:
                return {PurePosixPath(path).name for path in self._files.find(self._root, maxdepth=1)}
            except FileNotFoundError:
                return set()

    def fetch(self, name: str) -> bytes:
        with self._explained():
            return bytes(self._files.cat_file(self._path(name)))

    def publish(self, name: str, write: Callable[[Path], None], scratch: Place | None = None) -> None:  # noqa: ARG002
        with tempfile.TemporaryDirectory(prefix="pneumonia-") as folder:
            file = Path(folder) / "file"
            write(file)
            with self._explained():
                if self._protocol in APPEARS_WHOLE:
                    self._files.put_file(str(file), self._path(name))
                    return
                self._files.makedirs(self._root, exist_ok=True)
                temporary = self._path(f".{name}.{Path(folder).name}.tmp")
                self._files.put_file(str(file), temporary)
                self._files.mv(temporary, self._path(name))

    def child(self, name: str) -> RemotePlace:
        return RemotePlace(f"{self.url}/{name}", self._files, f"{self._root}/{name}")

    def locked(self) -> AbstractContextManager[None]:
        """Hold nothing: an object store has no locks. Two runs of the same scoring write the same parts."""
        return nullcontext()

    def remove(self) -> None:
        with self._explained():
            if not set(self._root) & set("*?["):
                self._files.rm(self._root, recursive=True)
                return
            for file in self._files.find(self._root):  # rm would take the name for a pattern
                self._files.rm_file(file)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the libraries raise into a message with the address and the remedy, without a secret."""
        try:
            yield
        except DataError:
            raise
        except Exception as error:
            if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _LIBRARIES:
                raise DataError(f"{self}: {_problem(error, self._protocol)}") from error
            raise


def _quiet() -> None:
    """Keep the libraries' log lines from the terminal: what they log of an error they raise too, and it is explained.

    A level that somebody has set, such as by GCSFS_DEBUG, stays.
    """
    for name in (*_LIBRARIES, "urllib3"):
        if (logger := logging.getLogger(name)).level == logging.NOTSET:
            logger.setLevel(logging.CRITICAL)


def _bounds(url: str) -> dict[str, Any]:
    """Return the options that bound how long a request may take, where the library has no bound of its own."""
    if url.partition(":")[0].lower() not in ("gs", "gcs"):
        return {}
    import aiohttp

    return {"requests_timeout": aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS)}


def _check_reachable(shown: str, files: Any, url: str) -> None:
    """Refuse a server where nothing listens: gcsfs tries for a minute, and over HTTP the folder would look empty.

    Both connect without a proxy. S3's library gives up by itself.
    """
    scheme = url.partition(":")[0].lower()
    if scheme in ("http", "https"):
        server = urlsplit(url)
    elif scheme in ("gs", "gcs"):
        server = urlsplit(files._location)  # Google's, or that of STORAGE_EMULATOR_HOST
    else:
        return
    port = server.port or (80 if server.scheme == "http" else 443)
    try:
        socket.create_connection((server.hostname or "", port), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise DataError(
            f"{shown}: no connection to {server.hostname}:{port} ({error.strerror or error}); see that the network "
            "reaches it and the address is right, then run again"
        ) from error


def _problem(error: Exception, protocol: str) -> str:
    """Return what is wrong and what to do, without a secret."""
    words = redacted(" ".join(str(error).split()))[:300] or type(error).__name__
    kind, lower = type(error).__name__, words.lower()
    ways = CREDENTIALS.get({"s3a": "s3", "gcs": "gs"}.get(protocol, protocol), "the variables of its library")
    if isinstance(error, FileNotFoundError):
        return f"there is no such bucket or folder ({words}); correct the address, or make the bucket"
    if "credential" in lower or "credential" in kind.lower():
        return f"no credentials were found ({words}); set {ways}"
    if isinstance(error, PermissionError) or any(word in lower for word in ("forbidden", "denied", "401", "403")):
        return f"access is refused ({words}); grant this user reading and writing there, or set {ways}"
    return f"cannot be used ({words}); see that the server answers and the address is right, then run again"


def _is_litter(name: str) -> bool:
    return name.endswith("/") or any(is_litter(part) for part in name.split("/"))
