"""Prepare a process for the environment that it was started in: proxies, accounts without a home, closed streams.

Every entry point calls `prepare` before anything else. Imports nothing heavy.
"""

from __future__ import annotations

import getpass
import os
import ssl
from collections.abc import Iterable, MutableMapping
from pathlib import Path

from pneumonia.errors import ConfigError
from pneumonia.streams import open_standard_streams

LOOPBACK = ("localhost", "127.0.0.1", "::1")
PROXIES = ("http_proxy", "https_proxy", "all_proxy")
REQUESTS_CERTIFICATES = ("MLFLOW_TRACKING_SERVER_CERT_PATH", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
HTTPX_CERTIFICATES = ("PREFECT_API_SSL_CERT_FILE", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""Variables that name certificates: of requests and MLflow, and of httpx and Prefect."""


def prepare() -> None:
    """Set what libraries would stumble over; child processes inherit it. Nothing that the user has set is replaced."""
    open_standard_streams()
    bypass_proxies_for_loopback(os.environ)
    os.environ.setdefault("HOME", str(home()))


def home() -> Path:
    """Return this user's home; for a numeric user without HOME the root folder, as container engines set it."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/")


def bypass_proxies_for_loopback(environment: MutableMapping[str, str]) -> None:
    """Add this machine's own addresses to NO_PROXY where a proxy is set: no proxy leads back to this machine.

    Both spellings get the same value: libraries differ in which one they prefer.
    """
    if not any(environment.get(name) or environment.get(name.upper()) for name in PROXIES):
        return
    given = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    hosts = [host.strip() for host in given.split(",") if host.strip()]
    if "*" not in hosts:
        hosts += [host for host in LOOPBACK if host not in hosts]
    environment["no_proxy"] = environment["NO_PROXY"] = ",".join(hosts)


def proxy_variables(*schemes: str) -> str:
    """Return the variables that send requests of these schemes through a proxy, for messages; empty where none does."""
    names = [*(f"{scheme}_proxy" for scheme in schemes), "all_proxy"]
    return ", ".join(spelling for name in names for spelling in (name, name.upper()) if os.environ.get(spelling))


def check_certificates(names: Iterable[str]) -> None:
    """Check that the certificates that these variables name can be loaded.

    Raises:
        ConfigError: a file is missing, unreadable or holds no certificate; names the variable.
    """
    for name in names:
        given = os.environ.get(name)
        if not given:
            continue
        place = Path(given)
        try:
            if not place.is_dir():
                ssl.create_default_context(cafile=given)
        except ssl.SSLError:
            problem = "holds no certificates in PEM format"
        except OSError as error:
            problem = f"cannot be read ({error.strerror})"
        else:
            continue
        raise ConfigError(f"{name}={given}: {problem}; correct the variable, or unset it to use the built-in ones")


def account() -> str:
    """Return the name of the account that this process runs under; ``uid 1234`` for a numeric user without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
