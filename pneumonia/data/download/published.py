"""Fetch the published radiographs from Mendeley Data, or from Kaggle's copy of them.

Kermany, Zhang, Goldbaum, "Labeled Optical Coherence Tomography (OCT) and Chest X-Ray Images for Classification",
Mendeley Data, version 2, doi:10.17632/rscbjbr9sj.2, CC BY 4.0.
"""

from __future__ import annotations

import json
import logging
import re
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from pneumonia.data.download import archive
from pneumonia.data.download.archive import sha256_of
from pneumonia.data.download.http import download
from pneumonia.data.layout import scan
from pneumonia.errors import ConfigError, DataError
from pneumonia.progress import Progress, silent

log = logging.getLogger(__name__)

MENDELEY_URL = (
    "https://data.mendeley.com/public-files/datasets/rscbjbr9sj/files/"
    "f12eaf6d-6023-432f-acc9-80c9d7393433/file_downloaded"
)
"""ChestXRay2017.zip, about 1.2 GB. No published checksum of it could be verified, so none is built in; the checksum of
the downloaded file is recorded, see `fetch`."""
MENDELEY_FILE = "ChestXRay2017.zip"
KAGGLE = "paultimothymooney/chest-xray-pneumonia"


def fetch(
    destination: Path,
    url: str = MENDELEY_URL,
    sha256: str | None = None,
    progress: Progress = silent,
    unpacking: Progress = silent,
) -> Path:
    """Download the published archive and unpack its images, unless they are present already.

    The archive stays in ``destination``, with ``<archive>.json`` next to it: address, size and SHA-256. A second call
    resumes an interrupted one.

    Args:
        destination: folder; ``chest_xray`` is created in it.
        url: address of a zip file.
        sha256: expected hash of the archive; without it the hash is recorded and logged, not verified.
        progress: called with (bytes received, bytes in all; 0 where unknown).
        unpacking: called with (images unpacked, images in all).

    Returns:
        ``destination/chest_xray``.

    Raises:
        ConfigError: ``sha256`` is not a SHA-256.
        DataError: the download fails, the archive is another one, damaged or unsafe, or the folder cannot be written.
    """
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ConfigError(f"sha256: {sha256!r} is not a SHA-256; it has 64 hexadecimal digits")
    target = destination / "chest_xray"
    if _present(target):
        return target
    file = _folder(destination) / _file_name(url)
    if not file.exists() or _record(file).get("url") != url:
        download(url, file, progress)
        _check_zip(file, url)
        _verify(file, url, sha256)
    else:
        _verify(file, url, sha256 or str(_record(file)["sha256"]))
    archive.unzip(file, target, unpacking, origin=f"{file} (from {url})")
    return target


def fetch_kaggle(destination: Path, unpacking: Progress = silent) -> Path:
    """Fetch Kaggle's copy of the set, through `kagglehub`, which shows its own progress and keeps a cache.

    Args:
        destination: folder; ``chest_xray`` is created in it, of hard links into the cache where the file system allows
            it.
        unpacking: called with (images linked, images in all).

    Returns:
        ``destination/chest_xray``.

    Raises:
        DataError: `kagglehub` is not installed, Kaggle refuses or cannot be reached, or the folder cannot be written.
    """
    target = destination / "chest_xray"
    if _present(target):
        return target
    _folder(destination)
    try:
        import kagglehub
    except ImportError as error:
        raise DataError(
            f"kaggle: kagglehub cannot be imported ({error}); install it with pip install 'pneumonia[kaggle]', "
            "or fetch from Mendeley Data"
        ) from None
    try:
        folder = Path(kagglehub.dataset_download(KAGGLE))
    except Exception as error:
        raise DataError(
            f"https://www.kaggle.com/datasets/{KAGGLE}: cannot be downloaded ({type(error).__name__}: {error}); "
            "check the network and the login (https://github.com/Kaggle/kagglehub), or fetch from Mendeley Data"
        ) from error
    archive.copy(folder, target, unpacking)
    return target


def _present(target: Path) -> bool:
    if not target.exists():
        return False
    try:
        scan(target)
    except DataError as error:
        raise DataError(f"{target}: exists already and is not complete; move it away. {error}") from None
    return True


def _folder(destination: Path) -> Path:
    try:
        destination.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{destination}: cannot be created ({error.strerror}); name another folder") from None
    return destination


def _file_name(url: str) -> str:
    """Return a plain file name for the archive, for any address."""
    if url == MENDELEY_URL:
        return MENDELEY_FILE
    name = re.sub(r"[^A-Za-z0-9._-]", "_", PurePosixPath(unquote(urlsplit(url).path)).name).lstrip(".")
    return name if name.lower().endswith(".zip") else f"{name or 'archive'}.zip"


def _record_file(file: Path) -> Path:
    return file.with_name(file.name + ".json")


def _record(file: Path) -> dict[str, Any]:
    """Return the record of an earlier call; empty where it is unusable, so that the file is downloaded again."""
    try:
        record = json.loads(_record_file(file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and {"url", "sha256"} <= record.keys() else {}


def _check_zip(file: Path, url: str) -> None:
    """Refuse a file that is not a zip, such as the web page that servers send where a file has moved."""
    if not zipfile.is_zipfile(file):
        with file.open("rb") as opened:
            begin = opened.read(40)
        file.unlink()
        raise DataError(
            f"{url}: does not send a zip file, it begins with {begin!r}; check the address, it may have moved"
        )


def _verify(file: Path, url: str, expected: str | None) -> None:
    found = sha256_of(file)
    if expected is not None and found != expected.lower():
        file.unlink()
        _record_file(file).unlink(missing_ok=True)
        raise DataError(
            f"{url}: the archive's SHA-256 is {found} instead of {expected.lower()}, so it was removed; "
            "fetch again, and if that gives the same, check the address and the expected SHA-256"
        )
    if expected is None:
        log.warning("%s: not verified, no SHA-256 was given; recorded in %s: %s", url, _record_file(file), found)
    record = {"url": url, "bytes": file.stat().st_size, "sha256": found}
    try:
        _record_file(file).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{_record_file(file)}: cannot be written ({error.strerror}); free space there") from error
