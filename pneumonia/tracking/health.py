"""Check whether a tracking store can be used, within seconds, and describe the problem where it cannot."""

from __future__ import annotations

import configparser
import os
import threading
from pathlib import Path

import requests

SECONDS = 4.0
"""How long a server may take to respond, name resolution included."""


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


def server_problem(uri: str) -> Problem | None:
    """Describe the problem of the tracking server at `uri`; None where it serves MLflow to this user."""
    outcome: list[Problem | None] = []
    # In a separate thread, because name resolution has no timeout of its own.
    thread = threading.Thread(target=lambda: outcome.append(_ask(uri)), daemon=True)
    thread.start()
    thread.join(SECONDS)
    return outcome[0] if outcome else Problem(f"no answer within {SECONDS:.0f} s")


def _ask(uri: str) -> Problem | None:
    try:
        answer = _search(uri)
    except (requests.ConnectionError, requests.Timeout) as error:
        return Problem(f"the tracking server cannot be reached ({system_words(str(error)) or type(error).__name__})")
    except requests.RequestException as error:
        return Problem(f"the address cannot be used ({type(error).__name__})", permanent=True)
    if answer.status_code >= 500:
        return Problem(f"the tracking server fails (HTTP {answer.status_code})")
    if text := _refusal(answer):
        return Problem(text, permanent=True)
    return None


def _refusal(answer: requests.Response) -> str | None:
    if answer.status_code == 401:
        return "the tracking server refuses the login; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if answer.status_code == 403 and "host header" in answer.text.lower():
        return "the tracking server refuses this host name; name it in the server's --allowed-hosts"
    if answer.status_code == 403:
        return "the tracking server, or something before it, forbids this user to see experiments (HTTP 403)"
    if answer.status_code != 200 or not _lists_experiments(answer):
        return f"something answers there (HTTP {answer.status_code}), but it is not an MLflow server"
    return None


def _search(uri: str) -> requests.Response:
    """Request one experiment, which any user of the server may do and only an MLflow server answers."""
    user, password = _login()
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    insecure = os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("1", "true")
    return requests.get(
        f"{uri.rstrip('/')}/api/2.0/mlflow/experiments/search",
        params={"max_results": 1},
        auth=(user, password) if user else None,
        headers={"Authorization": f"Bearer {token}"} if token and not user else None,
        verify=False if insecure else os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH", True),
        timeout=(SECONDS / 2, SECONDS),
    )


def _login() -> tuple[str, str]:
    """Return user and password as MLflow finds them: from the environment, else from ``~/.mlflow/credentials``."""
    file = configparser.ConfigParser(interpolation=None)
    file.read(Path.home() / ".mlflow" / "credentials")
    stored = dict(file["mlflow"]) if file.has_section("mlflow") else {}
    names = ("mlflow_tracking_username", "mlflow_tracking_password")
    user, password = (os.environ.get(name.upper()) or stored.get(name, "") for name in names)
    return user, password


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
