"""One file over HTTP: resumed where it broke off, whole or not there at all."""

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

from pneumonia.errors import DataError
from pneumonia.progress import Progress, silent

TRIES = 5
"""Connections in a row that may bring nothing before giving up."""
PAUSE = 1.0
"""Seconds before the second try; doubled with every further one."""
TIMEOUT = (10, 60)
"""Seconds to connect, and seconds without a byte."""
_CHUNK = 1 << 16
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_FOREVER = (requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema, requests.exceptions.InvalidURL)


class _Broken(Exception):
    """A connection that may be better the next time."""


def download(url: str, file: Path, progress: Progress = silent) -> None:
    """Bring a URL to a file.

    What has arrived lies in ``<file>.part`` until it is complete. A connection that breaks is taken up again, in this
    call and in a later one, where the server can send the rest and still has the same file; otherwise from the start.

    Args:
        url: http or https.
        file: where to; its folder exists.
        progress: called with (bytes there, bytes in all; 0 where the server does not tell).

    Raises:
        DataError: the URL does not exist, the server cannot be reached or keeps breaking off, the file cannot be
            written, or another process is downloading it; names the URL.
    """
    part = file.with_name(file.name + ".part")
    try:
        with part.open("ab") as opened:
            _lock(opened, part)
            _complete(url, opened, part, progress)
            os.fsync(opened.fileno())
            part.replace(file)
            _note(part).unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{part}: cannot be written ({error.strerror}); free space or choose another folder") from error
    finally:
        if part.exists() and not part.stat().st_size:
            part.unlink()
            _note(part).unlink(missing_ok=True)


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
        except _Broken as broken:
            reason = str(broken)
            done = part.stat().st_size
            tries = 1 if done > most else tries + 1
            most = max(most, done)
        else:
            return
    done = part.stat().st_size
    kept = f"{done} bytes are kept, the same command goes on from there" if done else "try again later"
    raise DataError(f"{url}: cannot be downloaded ({reason}); check the address and the network; {kept}")


def _receive(url: str, opened: BinaryIO, part: Path, progress: Progress) -> None:
    """One connection: everything, or the rest of what is there."""
    done, headers = part.stat().st_size, {"Accept-Encoding": "identity"}
    known = _remembered(part, url) if done else None
    if known:
        headers |= {"Range": f"bytes={done}-", "If-Range": known}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            done, total = _start(url, answer, opened, done)
            if not done:
                _remember(part, url, answer)
            _check_space(part, total - done)
            progress(done, total)
            if done == total > 0:
                return
            for chunk in answer.iter_content(_CHUNK):
                opened.write(chunk)
                opened.flush()
                done += len(chunk)
                progress(done, total)
    except _FOREVER as error:
        raise DataError(f"{url}: is no web address ({error}); write it as https://…") from None
    except requests.RequestException as error:
        raise _Broken(_reason(error)) from error
    if total and done != total:
        opened.truncate(0)
        raise _Broken(f"{done} bytes arrived instead of {total}")


def _start(url: str, answer: requests.Response, opened: BinaryIO, done: int) -> tuple[int, int]:
    """Bytes that are there already, and bytes in all."""
    status = answer.status_code
    if status in {408, 429} or status >= 500:
        raise _Broken(f"the server answers {status} {answer.reason}")
    if status == 206:
        found = _CONTENT_RANGE.match(answer.headers.get("Content-Range", ""))
        if found and int(found[1]) == done:
            return done, int(found[2])
    if status == 416 and answer.headers.get("Content-Range") == f"bytes */{done}":
        return done, done  # nothing was missing but the last step
    if status in {206, 416}:  # not the part that was asked for: from the start, the next time
        opened.truncate(0)
        raise _Broken("the server has another file than before")
    if status != 200:
        raise DataError(f"{url}: the server answers {status} {answer.reason}; check the address, it may have moved")
    opened.truncate(0)
    return 0, int(answer.headers.get("Content-Length", 0))


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _remember(part: Path, url: str, answer: requests.Response) -> None:
    """Keep what names this version of the file, so that two versions are never pieced together."""
    etag = answer.headers.get("ETag", "")
    version = etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified", "")
    _note(part).write_text(json.dumps({"url": url, "version": version}), encoding="utf-8")


def _remembered(part: Path, url: str) -> str | None:
    try:
        note = json.loads(_note(part).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return str(note["version"]) or None if note.get("url") == url else None


def _check_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise DataError(f"{part}: {needed} bytes are to come and {free} are free; free space or choose another folder")


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, requests.ConnectionError):
        return "no connection to the server"
    return str(error)
