"""Find what keeps Prefect from working here without importing it: its folder, profiles, database and server."""

from __future__ import annotations

import importlib.util
import os
import sqlite3
import tempfile
import tomllib
from contextlib import closing
from pathlib import Path

import requests

from pneumonia.environment import HTTPX_CERTIFICATES, check_certificates
from pneumonia.environment import home as user_home
from pneumonia.errors import ConfigError, PneumoniaError
from pneumonia.tracking.health import address_problem, system_words

SECONDS = 5.0
"""How long a server may take to answer, and a database to become free."""
OR_NONE = "correct PREFECT_API_URL, or unset it: the flow then starts a server of its own"
MOVE_AWAY = "move the file away (it holds the history of flows, and nothing of MLflow), or set PREFECT_HOME=DIR"


def check_environment() -> str:
    """Check what Prefect would use here, as far as that shows without it; return its name.

    Raises:
        PneumoniaError: it cannot be used.
    """
    check_certificates(HTTPX_CERTIFICATES)
    check_profiles()
    if url := os.environ.get("PREFECT_API_URL"):
        _check_server(url)
        return url
    check_database(home() / "prefect.db")
    return f"a temporary server, with its database in {home()}"


def home() -> Path:
    """Return Prefect's folder."""
    return Path(os.environ.get("PREFECT_HOME") or user_home() / ".prefect").expanduser()


def profiles_file() -> Path:
    """Return Prefect's file of profiles, which need not exist."""
    return Path(os.environ.get("PREFECT_PROFILES_PATH") or home() / "profiles.toml")


def check_profiles() -> None:
    """Check that the file of profiles can be read, where there is one.

    Raises:
        ConfigError: it cannot.
    """
    path = profiles_file()
    try:
        tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: Prefect's profiles cannot be read ({getattr(error, 'strerror', None) or error}); correct the "
            "file, or remove it"
        ) from None


def check_address(url: str) -> None:
    """Check the form of the address of Prefect's server.

    Raises:
        ConfigError: it has no scheme, no host or no valid port.
    """
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"PREFECT_API_URL={url}: begins with neither http:// nor https://; {OR_NONE}")
    if problem := address_problem(url):
        raise ConfigError(f"PREFECT_API_URL={url}: {problem}; {OR_NONE}")


def _check_server(url: str) -> None:
    check_address(url)
    user, _, password = os.environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
    try:
        answer = requests.get(
            f"{url.rstrip('/')}/admin/version", auth=(user, password) if user else None, timeout=SECONDS
        )
    except requests.RequestException as error:
        raise PneumoniaError(unreachable(url, error)) from None
    if not answer.ok or not isinstance(_json(answer), str):
        raise PneumoniaError(f"{url}: {refusal(answer.status_code)}; {OR_NONE}")


def _json(answer: requests.Response) -> object:
    try:
        return answer.json()
    except ValueError:
        return None


def unreachable(url: str, error: Exception) -> str:
    """Describe a server that gave no answer."""
    reason = system_words(str(error)) or type(error).__name__
    return f"{url}: Prefect's server cannot be reached ({reason}); start it, {OR_NONE}"


def refusal(status: int) -> str:
    """Describe an answer that is no Prefect server's, or a refusal of one."""
    if status in (401, 403):
        return (
            f"Prefect's server refuses the login (HTTP {status}); set PREFECT_API_AUTH_STRING=USER:PASSWORD, or "
            "PREFECT_API_KEY, as its administrator says"
        )
    if status >= 500 or status == 429:
        return f"Prefect's server fails (HTTP {status}); see its log, then run the same command again"
    return f"something answers there (HTTP {status}), but no Prefect server, whose address ends in /api"


def check_database(path: Path) -> None:
    """Check that Prefect's SQLite database can be written, and is of the installed version or an older one.

    Raises:
        PneumoniaError: it cannot; names the file.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent) as file:  # permissions do not show a mount that cannot be written
            file.write(b"0")
            file.flush()
    except OSError as error:
        raise PneumoniaError(
            f"{path.parent}: Prefect's folder cannot be written ({error.strerror}); make it writable, or choose "
            "another: export PREFECT_HOME=DIR"
        ) from None
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=SECONDS)) as database:
            database.execute("BEGIN IMMEDIATE")
            found = _revision(database)
            database.rollback()
    except sqlite3.Error as error:
        busy = "locked" in str(error)
        remedy = f"end the program that holds it (fuser {path}), or wait for it" if busy else MOVE_AWAY
        raise PneumoniaError(f"{path}: Prefect's database cannot be used ({error}); {remedy}") from None
    if found and not _is_known(found):
        raise PneumoniaError(
            f"{path}: Prefect's database is of another, probably newer version of Prefect (revision {found}); install "
            f"that version, or {MOVE_AWAY}"
        )


def _revision(database: sqlite3.Connection) -> str | None:
    tables = database.execute("SELECT name FROM sqlite_master WHERE name = 'alembic_version'").fetchall()
    row = database.execute("SELECT version_num FROM alembic_version").fetchone() if tables else None
    return str(row[0]) if row else None


def _is_known(revision: str) -> bool:
    found = importlib.util.find_spec("prefect")
    folder = Path((found and found.origin) or "").parent / "server/database/_migrations/versions/sqlite"
    return not folder.is_dir() or any(folder.glob(f"*{revision}*.py"))
