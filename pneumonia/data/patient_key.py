"""Replace patients' identifiers by pseudonyms, with a secret key of the site."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from functools import cached_property
from pathlib import Path
from threading import Lock

from filelock import FileLock

from pneumonia.errors import DataError

FILE = "patient.key"
VARIABLE = "PNEUMONIA_PATIENT_KEY"
"""Holds the key as 64 hexadecimal digits, for machines that share no folder; an empty one counts as not there."""
_BYTES = 32
_SHOWN = 16  # hexadecimal digits, 64 bits: among a million patients two are equal with a probability of 3e-8
PSEUDONYM = re.compile(rf"id-[0-9a-f]{{{_SHOWN}}}")
"""The form of a pseudonym."""


class Pseudonyms:
    """The pseudonyms of patients: a keyed hash (HMAC-SHA-256), which cannot be looked up by trying all identifiers.

    The key is created at the first use, so that a data set without identifiers leaves none. Where `VARIABLE` holds one,
    nothing is created.
    """

    def __init__(self, work: Path | None = None) -> None:
        """Use the key in the work folder; without one, a key of this process, for pseudonyms that nobody will see."""
        self._path = work / FILE if work else None
        self._one = Lock()

    def of(self, identifier: str) -> str:
        """Return the pseudonym of an identifier; spaces around it do not matter (DICOM pads values with them).

        Raises:
            DataError: the key cannot be read or written.
        """
        digest = hmac.new(self._secret(), identifier.strip().encode("utf-8", "surrogateescape"), hashlib.sha256)
        return f"id-{digest.hexdigest()[:_SHOWN]}"

    @property
    def fingerprint(self) -> str:
        """Name the key without revealing it, so that pseudonyms of another key can be told from its own."""
        return hmac.new(self._secret(), b"fingerprint of the patient key", hashlib.sha256).hexdigest()[:_SHOWN]

    def _secret(self) -> bytes:
        with self._one:  # decoding threads ask at the same time
            return self._key

    @cached_property
    def _key(self) -> bytes:
        if self._path is None:
            return secrets.token_bytes(_BYTES)
        return from_environment(self._path) or read_or_create(self._path)


def from_environment(path: Path) -> bytes | None:
    """Return the key that `VARIABLE` holds, or None where it holds none.

    Raises:
        DataError: it is not such a key, or the file at `path` is another one: pseudonyms of two keys do not match.
    """
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return None
    if not re.fullmatch(rf"[0-9a-fA-F]{{{2 * _BYTES}}}", text):
        raise DataError(f"{VARIABLE}: is not {2 * _BYTES} hexadecimal digits; openssl rand -hex {_BYTES} makes some")
    key = bytes.fromhex(text)
    try:
        other = path.exists() and path.read_bytes() != key
    except OSError as error:
        raise DataError(f"{path}: the key of the patients' pseudonyms cannot be read ({error.strerror})") from error
    if other:
        raise DataError(
            f"{VARIABLE}: is another key than {path}, so that every patient and reader would get another pseudonym; "
            "remove one of the two, or give the variable the file's bytes: od -An -v -tx1 FILE | tr -d ' \\n'"
        )
    return key


def read_or_create(path: Path) -> bytes:
    """Read the key, or create it: 32 random bytes that only the owner can read.

    Raises:
        DataError: it cannot be read or written, or is not such a key.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f"{path.name}.lock")):  # two runs must not create two keys
            if not path.exists():
                _create(path)
            key = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: the key of the patients' pseudonyms cannot be used ({error.strerror}); "
            "grant rights there, or choose another folder with work=DIR"
        ) from error
    if len(key) != _BYTES:
        raise DataError(
            f"{path}: is not a key of {_BYTES} bytes; restore it from the backup. If there is none, remove it: "
            "a new key is made, and every patient gets a new pseudonym"
        )
    return key


def _create(path: Path) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, secrets.token_bytes(_BYTES))
        os.fsync(file)
    finally:
        os.close(file)
    temporary.replace(path)
