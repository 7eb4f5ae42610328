"""Download one file over HTTP: resumed after an interruption, written atomically."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import BinaryIO

import requests

from pneumonia.environment import REQUESTS_CERTIFICATES, check_certificates
from pneumonia.errors import DataError
from pneumonia.progress import Progress, silent

TRIES = 5
"""Number of consecutive connections without new bytes before giving up."""
PAUSE = 1.0
"""Seconds before the second try; doubled before each further one."""
TIMEOUT = (10, 60)
"""Seconds to connect, and seconds without a byte."""
_CHUNK = 1 << 16
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_PERMANENT = (requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema, requests.exceptions.InvalidURL)


class _ConnectionBroken(Exception):
    """A failed connection; a retry may succeed."""


def download(url: str, file: Path, progress: Progress = silent) -> None:
    """Download a URL to a file.

    The received bytes are in ``<file>.part`` until it is complete. A broken download is resumed, in this call and in a
    later one, where the server supports ranges and still has the same file; otherwise it starts again.

    Args:
        url: http or https.
        file: target; its folder exists.
        progress: called with (bytes received, bytes in all; 0 where the server does not report it).

    Raises:
        DataError: the URL does not exist, the server cannot be reached or the connection breaks repeatedly, the file
            cannot be written, or another process is downloading it; names the URL.
        ConfigError: the certificates that a variable names cannot be used.
    """
    if url.lower().startswith("https:"):
        check_certificates(REQUESTS_CERTIFICATES)
    part = file.with_name(file.name + ".part")
    try:
        with part.open("ab") as opened:
            _lock(opened, part)
            _complete(url, opened, part, progress)
            os.fsync(opened.fileno())
            part.replace(file)
            _version_file(part).unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{part}: cannot be written ({error.strerror}); free space or choose another folder") from error
    finally:
        if part.exists() and not part.stat().st_size:
            part.unlink()
            _version_file(part).unlink(missing_ok=True)


def _lock(opened: BinaryIO, part: Path) -> None:
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DataError(f"{part}: another process is downloading it; wait for it or end it") from None


def _complete(url: str, opened: BinaryIO, part: Path, progress: Progress) -> None:
    tries, most, reason = 0, part.stat().st_size, ""
    while tries < TRIES:
        if tries:
            time.sleep(PAUSE * 2 ** (tries - 1))
        try:
            _receive(url, opened, part, progress)
        except _ConnectionBroken as broken:
            reason = str(broken)
            done = part.stat().st_size
            tries = 1 if done > most else tries + 1
            most = max(most, done)
        else:
            return
    done = part.stat().st_size
    kept = f"{done} bytes are kept, the same command resumes from there" if done else "try again later"
    raise DataError(f"{url}: cannot be downloaded ({reason}); check the address and the network; {kept}")


def _receive(url: str, opened: BinaryIO, part: Path, progress: Progress) -> None:
    """Receive the whole file, or the missing part, over one connection."""
    done, headers = part.stat().st_size, {"Accept-Encoding": "identity"}
    known = _recorded_version(part, url) if done else None
    if known:
        headers |= {"Range": f"bytes={done}-", "If-Range": known}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            done, total = _start(url, answer, opened, done)
            if not done:
                _record_version(part, url, answer)
            _check_space(part, total - done)
            progress(done, total)
            if done == total > 0:
                return
            for chunk in answer.iter_content(_CHUNK):
                opened.write(chunk)
                opened.flush()
                done += len(chunk)
                progress(done, total)
    except _PERMANENT as error:
        raise DataError(f"{url}: is not a web address ({error}); write it as https://…") from None
    except requests.RequestException as error:
        raise _ConnectionBroken(_reason(error)) from error
    if total and done != total:
        opened.truncate(0)
        raise _ConnectionBroken(f"{done} bytes arrived instead of {total}")


def _start(url: str, answer: requests.Response, opened: BinaryIO, done: int) -> tuple[int, int]:
    """Return the number of bytes that are present already, and of bytes in all."""
    status = answer.status_code
    if status in {408, 429} or status >= 500:
        raise _ConnectionBroken(f"the server answers {status} {answer.reason}")
    if status == 206:
        found = _CONTENT_RANGE.match(answer.headers.get("Content-Range", ""))
        if found and int(found[1]) == done:
            return done, int(found[2])
    if status == 416 and answer.headers.get("Content-Range") == f"bytes */{done}":
        return done, done  # only the rename was missing
    if status in {206, 416}:  # not the requested range: the next try starts again
        opened.truncate(0)
        raise _ConnectionBroken("the server has another file than before")
    if status != 200:
        raise DataError(f"{url}: the server answers {status} {answer.reason}; check the address, it may have moved")
    opened.truncate(0)
    return 0, int(answer.headers.get("Content-Length", 0))


def _version_file(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _record_version(part: Path, url: str, answer: requests.Response) -> None:
    """Record the version of the file, so that parts of two versions are never combined."""
    etag = answer.headers.get("ETag", "")
    version = etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified", "")
    _version_file(part).write_text(json.dumps({"url": url, "version": version}), encoding="utf-8")


def _recorded_version(part: Path, url: str) -> str | None:
    try:
        note = json.loads(_version_file(part).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return str(note["version"]) or None if note.get("url") == url else None


def _check_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise DataError(f"{part}: {needed} bytes are missing and {free} are free; free space or choose another folder")


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, requests.ConnectionError):
        return "no connection to the server"
    return str(error)
