"""API keys: who may ask, and how often."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pneumonia.config.service import ServingConfig
from pneumonia.errors import ConfigError
from pneumonia.serving.problems import Problem

VARIABLE = "PNEUMONIA_API_KEY"
METRICS_VARIABLE = "PNEUMONIA_METRICS_KEY"
METRICS = "/metrics"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAKE = "one line a key: printf %s KEY | sha256sum | cut -d' ' -f1"


class Keys:
    """The keys that are accepted, as sha256, and the requests that each may make.

    Attributes:
        digests: sha256 of each key; empty: no key is asked for.
        rate: requests a minute and key; 0: any number.
        metrics_digest: sha256 of a key that opens `/metrics` alone, for the Prometheus that reads it, at any rate.
    """

    def __init__(self, digests: Sequence[bytes] = (), rate: int = 0, metrics_digest: bytes | None = None) -> None:
        self.digests = tuple(digests)
        self.rate = rate
        self.metrics_digest = metrics_digest
        self._allowances = [_Allowance(rate) for _ in self.digests]

    def __bool__(self) -> bool:
        return bool(self.digests)

    def check(self, headers: Mapping[bytes, bytes], path: str = "") -> bytes:
        """Refuse a request without a valid key, or with one that has made too many; return the key's digest.

        Every key is compared, each in constant time, so that the time tells nothing of where they differ.

        Args:
            headers: of the request, names in lower case.
            path: that is asked for.

        Raises:
            Problem: 401 or 429.
        """
        if not self.digests:
            return b""
        given = hashlib.sha256(_given(headers)).digest()
        if path == METRICS and self.metrics_digest and hmac.compare_digest(given, self.metrics_digest):
            return given
        matches = [hmac.compare_digest(given, digest) for digest in self.digests]
        if not any(matches):
            raise Problem(
                401,
                "key_missing_or_wrong",
                "give a valid API key, as Authorization: Bearer KEY or X-API-Key: KEY",
                headers={"WWW-Authenticate": 'Bearer realm="pneumonia"'},
            )
        wait = self._allowances[matches.index(True)].take(time.monotonic())
        if wait > 0:
            raise Problem(
                429,
                "too_many_requests",
                f"this API key may make {self.rate} requests a minute; try again after the time in Retry-After",
                headers={"Retry-After": str(int(wait) + 1)},
            )
        return given


class _Allowance:
    """A token bucket: `rate` a minute, as many at once."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.left = float(rate)
        self.since: float | None = None

    def take(self, now: float) -> float:
        """Take one request; return the seconds to wait where there is none left."""
        if not self.rate:
            return 0.0
        elapsed = 0.0 if self.since is None else now - self.since
        self.left = min(float(self.rate), self.left + elapsed * self.rate / 60)
        self.since = now
        if self.left < 1:
            return (1 - self.left) * 60 / self.rate
        self.left -= 1
        return 0.0


def _given(headers: Mapping[bytes, bytes]) -> bytes:
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return token.strip()
    return headers.get(b"x-api-key", b"").strip()


def load_keys(config: ServingConfig, environment: Mapping[str, str]) -> Keys:
    """Return the keys of the file and of the environment variables.

    Raises:
        ConfigError: the file cannot be read, holds no key, or a line that is no sha256; a variable is empty; the key
            of `/metrics` is an API key too; the address can be reached by others and there is no key.
    """
    digests = _read(Path(config.keys_file)) if config.keys_file else []
    digests += _from_environment(VARIABLE, environment)
    if not digests and not is_loopback(config.host):
        raise ConfigError(
            f"serving.host: {config.host} can be reached from other machines, which needs API keys; set {VARIABLE}, or "
            "serving.keys_file to a file of them, or serving.host to 127.0.0.1"
        )
    metrics = next(iter(_from_environment(METRICS_VARIABLE, environment)), None)
    if metrics in digests:
        raise ConfigError(f"{METRICS_VARIABLE}: is an API key, which opens more than {METRICS}; set it to another")
    return Keys(digests, config.rate, metrics)


def _from_environment(name: str, environment: Mapping[str, str]) -> list[bytes]:
    """Return the sha256 of each of a variable's keys, which commas divide; none where the variable is not set."""
    if name not in environment:
        return []
    keys = [key.strip() for key in environment[name].split(",")]
    if not all(keys):
        raise ConfigError(f"{name}: is empty, or a key in it is; set it to a key, or unset it")
    return [hashlib.sha256(key.encode()).digest() for key in keys]


def _read(path: Path) -> list[bytes]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        words = getattr(error, "strerror", None) or "not text"
        raise ConfigError(f"serving.keys_file: {path} cannot be read ({words}); write {_MAKE}") from None
    found: list[bytes] = []
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip().lower()
        if not text:
            continue
        if not _SHA256.fullmatch(text):  # not quoted: it may be a key
            raise ConfigError(f"serving.keys_file: line {number} of {path} is no sha256 in hex; write {_MAKE}")
        found.append(bytes.fromhex(text))
    if not found:
        raise ConfigError(f"serving.keys_file: {path} holds no key; write {_MAKE}")
    return found


def is_loopback(host: str) -> bool:
    """Return whether an address or name is this machine's own, which no other machine reaches."""
    name = host.strip("[]").casefold()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
