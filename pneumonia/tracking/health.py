"""Check whether a tracking store can be used, within seconds, and describe the problem where it cannot."""

from __future__ import annotations

import configparser
import contextlib
import netrc
import os
import re
import threading
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from pneumonia.environment import REQUESTS_CERTIFICATES, check_certificates, home, proxy_variables
from pneumonia.errors import ConfigError

SECONDS = 4.0
"""How long a server may take to respond, name resolution included."""
VERSION_SECONDS = 1.0
"""How long it may take to tell its version, without which nothing is said about that."""


class Problem(str):
    """A description of what is wrong.

    Attributes:
        permanent: it will still be wrong in a minute: a retry is of no use.
    """

    permanent: bool

    def __new__(cls, text: str, *, permanent: bool = False) -> Problem:
        """Create one; a server that does not answer, or fails, may recover."""
        made = super().__new__(cls, text)
        made.permanent = permanent
        return made


def address_problem(uri: str) -> Problem | None:
    """Describe what is wrong with the form of a server's address; None where its host and port can be used."""
    words = "a port is 1 to 65535"
    try:
        parts = urlsplit(uri)
        wrong = parts.port == 0
    except ValueError as error:
        wrong = True
        words = "an IPv6 address stands in brackets: http://[::1]:5000" if "IPv6" in str(error) else words
    if not uri.isprintable() or " " in uri:
        wrong, words = True, "there are blanks in it"
    if wrong:
        return Problem(f"the address cannot be used ({words})", permanent=True)
    if not parts.hostname and parts.scheme in ("http", "https"):
        return Problem("the address cannot be used (it names no host)", permanent=True)
    return None


def server_problem(uri: str) -> Problem | None:
    """Describe the problem of the tracking server at `uri`; None where it serves MLflow to this user.

    Raises:
        ConfigError: certificates or a file with the login that the environment names cannot be used.
    """
    if problem := address_problem(uri):
        return problem
    if uri.startswith("https:"):
        check_certificates(REQUESTS_CERTIFICATES)
    known = login()
    _check_netrc()
    outcome: list[Problem | None] = []
    failure: list[Exception] = []

    def ask() -> None:
        try:
            outcome.append(_ask(uri, known))
        except Exception as error:  # noqa: BLE001 - raised again in the thread that waits
            failure.append(error)

    # In a separate thread, because name resolution has no timeout of its own.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(SECONDS + VERSION_SECONDS)
    if failure:
        raise failure[0]
    return outcome[0] if outcome else Problem(f"no answer within {SECONDS:.0f} s")


def _ask(uri: str, login: tuple[str, str]) -> Problem | None:
    try:
        answer = _get(f"{uri.rstrip('/')}/api/2.0/mlflow/experiments/search", login)
    except requests.exceptions.ProxyError:
        names = proxy_variables(urlsplit(uri).scheme)
        return Problem(f"the proxy of {names} does not lead there; correct the proxy, or name the host in NO_PROXY")
    except (requests.ConnectionError, requests.Timeout) as error:
        return Problem(f"the tracking server cannot be reached ({_reason(error)})")
    except requests.RequestException as error:
        return Problem(f"the address cannot be used ({str(error) or type(error).__name__})", permanent=True)
    if answer.status_code >= 500:
        return Problem(f"the tracking server fails (HTTP {answer.status_code})")
    if text := _refusal(answer) or _version_problem(_version_of(uri, login)):
        return Problem(text, permanent=True)
    return None


def _reason(error: requests.RequestException) -> str:
    """Return why a connection failed: the system's words, or those of the certificate's check."""
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "its certificate is not trusted; name the certificates to trust with MLFLOW_TRACKING_SERVER_CERT_PATH"
    if isinstance(error, requests.exceptions.SSLError):
        return "no TLS connection can be made; write http:// where the server has none"
    return system_words(text) or type(error).__name__


def _refusal(answer: requests.Response) -> str | None:
    if answer.status_code == 401:
        return (
            "the tracking server refuses the login; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            + _unread_logins()
        )
    if answer.status_code == 403 and "host header" in answer.text.lower():
        return "the tracking server refuses this host name; name it in the server's --allowed-hosts"
    if answer.status_code == 403:
        return "the tracking server, or something before it, forbids this user to see experiments (HTTP 403)"
    if answer.status_code != 200 or not _lists_experiments(answer):
        return f"something answers there (HTTP {answer.status_code}), but it is not an MLflow server"
    return None


def _version_of(uri: str, login: tuple[str, str]) -> str:
    """Return the server's version; empty where it does not tell it in time."""
    try:
        answer = _get(f"{uri.rstrip('/')}/version", login, VERSION_SECONDS)
    except requests.RequestException:
        return ""
    return answer.text.strip() if answer.ok else ""


def _version_problem(release: str) -> str | None:
    """Describe a server of another major version, whose interface differs; an unknown version is no problem."""
    found = re.fullmatch(r"(\d+)\.\d+\.\d+\S*", release)
    installed = version("mlflow")
    if found is None or found[1] == installed.partition(".")[0]:
        return None
    return (
        f"the tracking server is MLflow {release}, and installed here is {installed}, which needs a server of its own "
        "major version; upgrade the older of the two"
    )


def _get(url: str, login: tuple[str, str], seconds: float | None = None) -> requests.Response:
    """Request one experiment, or the version: any user may, and only an MLflow server answers so."""
    limit = seconds or (SECONDS / 2, SECONDS)
    return requests.get(url, params={"max_results": 1}, timeout=limit, **request_settings(login))


def request_settings(login: tuple[str, str]) -> dict[str, Any]:
    """Return login, headers and certificates of a request to the server, as MLflow's own client sends them."""
    user, password = login
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    insecure = os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("1", "true")
    return {
        "auth": (user, password) if user else None,
        "headers": {"Authorization": f"Bearer {token}"} if token and not user else None,
        "verify": False if insecure else os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH", True),
    }


def login() -> tuple[str, str]:
    """Return user and password as MLflow finds them: from the environment, else from ``~/.mlflow/credentials``.

    Raises:
        ConfigError: that file is malformed, which ends MLflow's own client too.
    """
    path = home() / ".mlflow" / "credentials"
    file = configparser.ConfigParser(interpolation=None)
    try:
        file.read(path)
    except (configparser.Error, UnicodeDecodeError):
        raise ConfigError(
            f"{path}: is not a file of MLflow's credentials; write the line [mlflow], and below it "
            "mlflow_tracking_username = NAME and mlflow_tracking_password = PASSWORD, or remove the file"
        ) from None
    stored = dict(file["mlflow"]) if file.has_section("mlflow") else {}
    names = ("mlflow_tracking_username", "mlflow_tracking_password")
    user, password = (os.environ.get(name.upper()) or stored.get(name, "") for name in names)
    return user, password


def _unread_logins() -> str:
    """Name the files with logins that are there and cannot be used: MLflow and requests pass over them in silence."""
    found = []
    path = home() / ".mlflow" / "credentials"
    if path.exists() and not os.access(path, os.R_OK):
        found.append(f"{path} cannot be read by this user")
    try:
        netrc.netrc(str(_netrc()))
    except FileNotFoundError:
        pass
    except OSError as error:
        found.append(f"{_netrc()} cannot be read ({error.strerror})")
    except netrc.NetrcParseError as error:
        found.append(f"{_netrc()}, line {error.lineno}, is malformed, so that no login in it is used")
    return "".join(f"; {words}" for words in found)


def _netrc() -> Path:
    return Path(os.environ.get("NETRC") or home() / ".netrc")


def _check_netrc() -> None:
    """Raise a ConfigError where netrc is no text, which ends every request; a malformed one is passed over."""
    with contextlib.suppress(OSError):
        try:
            _netrc().read_text()
        except UnicodeDecodeError:
            raise ConfigError(f"{_netrc()}: is malformed, no text in UTF-8; save it as UTF-8, or remove it") from None


def _lists_experiments(answer: requests.Response) -> bool:
    try:
        document = answer.json()
    except ValueError:
        return False
    # A user who may not see any experiment receives an empty object.
    return document == {} or (isinstance(document, dict) and isinstance(document.get("experiments"), list))


def system_words(text: str) -> str | None:
    """Return the operating system's message inside an HTTP library's; None where there is none."""
    known = (
        "Connection refused", "Connection reset by peer", "Name or service not known", "No route to host",
        "Network is unreachable", "Remote end closed connection without response", "timed out",
    )  # fmt: skip
    return next((words for words in known if words in text), None)
