"""Connect to MLflow: choose the server or database, check that it answers, and open one client for it.

Every call names its tracking URI. MLflow's process-wide "active run" and "tracking URI" are never set, because a flow,
a scheduler's worker or a test may hold several runs in one process.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

from pneumonia.config.schema import Config
from pneumonia.credentials import WAYS, dereferenced, holds_password, redacted, shown, stripped
from pneumonia.errors import ConfigError, DataError, TrackingError, worth_retrying
from pneumonia.tracking import health
from pneumonia.tracking.database import database_path, database_uri, missing_files, no_stray_folders, sqlite_problem

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

T = TypeVar("T")
logger = logging.getLogger(__name__)

PATIENCE = 60.0
"""How long a call that is not part of an epoch is retried while the server is unavailable, in seconds."""

DEFAULTS = {
    # MLflow's defaults are 7 retries with doubling pauses of a 120 s request: an unavailable server would delay an
    # epoch for minutes. Metrics that could not be sent are buffered and sent later, so giving up early loses nothing.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    # Readable output: no agent hints, progress bars, links or migration logs between the pipeline's own lines.
    "MLFLOW_DISABLE_AGENT_HINT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # No telemetry from machines that hold patients' data.
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
"""Environment variables of MLflow that are set unless the user has set them."""

DATABASES = ("postgresql", "mysql", "mssql")
"""Kinds of databases, beside SQLite, that MLflow stores runs in."""

TRANSIENT = frozenset(
    {"TEMPORARILY_UNAVAILABLE", "DEADLINE_EXCEEDED", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED"}
)
"""MLflow's codes of errors that a retry may resolve."""

ANSWERED = frozenset(
    {"RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_PARAMETER_VALUE", "INVALID_STATE",
     "PERMISSION_DENIED", "UNAUTHENTICATED", "ENDPOINT_NOT_FOUND", "FEATURE_DISABLED"}
)  # fmt: skip
"""MLflow's codes of what it would answer again."""


def tracking_uri(config: Config) -> str:
    """Return the tracking URI of the configuration.

    ``auto`` is the environment's ``MLFLOW_TRACKING_URI``, otherwise ``mlflow.db`` (SQLite) in the work folder. A
    reference ``env:NAME`` is returned as it is, because the result is written to files; `address` resolves it.

    Raises:
        ConfigError: the environment's URI contains a password.
    """
    if config.tracking.uri != "auto":
        return config.tracking.uri
    found = stripped(os.environ.get("MLFLOW_TRACKING_URI", ""))
    if holds_password(found) or not found.isprintable():
        raise ConfigError(f"MLFLOW_TRACKING_URI={shown(found)}: must not contain user and password; {WAYS}")
    return found or database_uri(Path(config.work).resolve() / "mlflow.db")


def address(uri: str) -> str:
    """Return the address that a tracking URI stands for: that of ``env:NAME`` from the variable; never to be written.

    User and password of a server's address are moved to MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD: MLflow
    repeats its address in errors and logs, but not these.

    Raises:
        ConfigError: the variable is not set.
    """
    found = dereferenced(uri)
    parts = urlsplit(found) if found != uri and found.lower().startswith("http") else None
    if parts is None or "@" not in parts.netloc:
        return found
    info, _, host = parts.netloc.rpartition("@")
    user, _, password = info.partition(":")
    os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(user), unquote(password)
    return parts._replace(netloc=host).geturl()


def mlflow_client(uri: str) -> MlflowClient:
    """Return a client of the store at `uri`, for runs and registered models.

    Raises:
        TrackingError: the store cannot be opened.
    """
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    # alembic announces each of some fifty migrations of a new database at INFO.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # urllib3 logs every retry; this module reports the result.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    # MLflow logs what goes wrong in a database with its traceback, and raises it too.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    from mlflow.tracking import MlflowClient  # two to three seconds, so not at the module's import

    with translated_errors(uri, "open the tracking store"):
        place = address(uri)
        if place.startswith("sqlite:"):
            database_path(place).parent.mkdir(parents=True, exist_ok=True)
        with no_stray_folders(place):
            client = MlflowClient(tracking_uri=place, registry_uri=place)
            if "%" in place and place.startswith("sqlite:"):
                client.search_registered_models(max_results=1)  # opens the registry too, here and not later
        return client


@contextlib.contextmanager
def translated_errors(uri: str, doing: str) -> Iterator[None]:
    """Turn any exception of MLflow, its HTTP library or its database into a `TrackingError` that names the address."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
        _redact(error)
        if isinstance(error, OSError) and _is_local(error):
            raise DataError(
                f"{error.filename}: {error.strerror}, so that the tracking client could not {doing}; bring the file "
                "back or make it readable, then run the same command again"
            ) from error
        raise TrackingError(
            f"{redacted(address(uri))}: could not {doing}: {error_summary(error)}{_remedy(uri, error)}",
            permanent=_is_permanent(error),
        ) from error
    except ValueError as error:  # where MLflow reads its own variables
        if "MLFLOW_" not in str(error):
            raise
        raise ConfigError(f"could not {doing}: {error}; correct the variable, or unset it") from error


def _is_local(error: OSError) -> bool:
    """Return whether an error is about a file of this machine, and not about a server or a full disk."""
    return error.filename is not None and not worth_retrying(error)


def _is_permanent(error: BaseException) -> bool:
    """Return whether the store has answered, and would answer the same again."""
    from mlflow.exceptions import MlflowException, RestException

    if isinstance(error, RestException | OSError):
        return not (is_transient(error) or worth_retrying(error))
    return isinstance(error, ImportError) or (isinstance(error, MlflowException) and error.error_code in ANSWERED)


def _redact(error: BaseException | None) -> None:
    """Remove passwords from the messages of an error and its causes, which tracebacks and orchestrators print."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error.args = tuple(redacted(part) if isinstance(part, str) else part for part in error.args)
        if isinstance(message := getattr(error, "message", None), str):
            error.message = redacted(message)  # type: ignore[attr-defined]
        error = error.__cause__ or error.__context__


def with_retries(uri: str, doing: str, call: Callable[[], T], patience: float | None = None) -> T:
    """Call a function, with retries at growing pauses while the server is unavailable, for `PATIENCE` seconds or these.

    The call must be idempotent: a response may be lost after the server has acted.

    Raises:
        TrackingError: it still fails, or fails in a way that a retry cannot resolve.
    """
    end, pause = time.monotonic() + (PATIENCE if patience is None else patience), 0.5
    while True:
        try:
            with translated_errors(uri, doing):
                return call()
        except TrackingError as error:
            if not is_transient(error.__cause__) or time.monotonic() + pause > end:
                raise
            logger.warning("%s; trying again in %.1f s", error, pause)
        time.sleep(pause)
        pause = min(2 * pause, 10.0)


def is_transient(error: BaseException | None) -> bool:
    """Return whether a retry may resolve `error`: no connection, a time-out, an overloaded or failing server."""
    import requests
    from mlflow.exceptions import MlflowException, RestException

    if isinstance(error, MlflowException):
        # INTERNAL_ERROR is also the default code. From a server it means that the server failed; raised by the client
        # it means a failed request only where its message says so.
        failed = isinstance(error, RestException) or "API request to" in error.message
        return str(error.error_code) in TRANSIENT or (error.error_code == "INTERNAL_ERROR" and failed)
    if isinstance(error, requests.HTTPError):
        return error.response is not None and (error.response.status_code >= 500 or error.response.status_code == 429)
    return isinstance(error, requests.ConnectionError | requests.Timeout)


def error_summary(error: BaseException) -> str:
    """Return an error's message in one line; the operating system's, where an HTTP library wraps it."""
    text = str(getattr(error, "message", "") or error).strip() or type(error).__name__
    if failed := re.search(r"too many (5\d\d) error responses", text):  # urllib3's text, at the end of a long line
        return f"the server itself failed (HTTP {failed[1]})"
    return health.system_words(text) or text.splitlines()[0][:300]


def _remedy(uri: str, error: BaseException) -> str:
    if "upgrade" in str(error) and "schema" in str(error):
        return f". Bring the database to the installed version: mlflow db upgrade {redacted(address(uri))}"
    if isinstance(error, ImportError):
        return f". Install the database's driver into this environment: pip install {_package(error.name)}"
    if getattr(error, "errno", None) == errno.ENOSPC or "disk is full" in str(error):
        return ". Free space on the disk, then run the same command again"
    if "database is locked" in str(error):
        return ". Another process holds it; wait for it or end it, then run the same command again"
    if "error responses" in str(error):
        return ". See the server's log (often its disk is full), then run the same command again"
    if address(uri).startswith("http") and is_transient(error):
        return ". Start the server or correct tracking.uri (MLFLOW_TRACKING_URI), then run the same command again"
    return ""


def _package(module: str | None) -> str:
    """Return the package that brings a database's driver."""
    return {"psycopg": "'psycopg[binary]'", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}.get(
        module or "", module or "the package that SQLAlchemy's page of the database names"
    )


def check_store(uri: str, *, writing: bool = True) -> None:
    """Check that the store at `uri` can be used, within about five seconds.

    Args:
        uri: of a server or a database.
        writing: it is to be written; otherwise a database that can only be read will do.

    Raises:
        TrackingError: unreachable, login refused, not an MLflow server, a database that is locked, of another MLflow,
            or in a folder that cannot be written, or a kind of URI that MLflow does not store runs in.
    """
    given, uri = uri, address(uri)
    scheme = uri.partition(":")[0] if ":" in uri else ""
    if scheme in ("http", "https"):
        if problem := health.server_problem(uri):
            raise TrackingError(
                f"{redacted(uri)}: {problem}. Start the tracking server there, or correct tracking.uri "
                "(MLFLOW_TRACKING_URI); without either the work folder's SQLite database is used",
                permanent=problem.permanent,
            )
    elif uri.startswith("sqlite:///") and uri != "sqlite:///:memory:":
        if problem := sqlite_problem(database_path(uri), writing=writing):
            raise TrackingError(f"{database_path(uri)}: {problem}", permanent=problem.permanent)
    elif scheme.partition("+")[0] not in DATABASES:
        raise TrackingError(
            f"tracking.uri={redacted(uri)}: no store of MLflow's; write sqlite:////absolute/path/mlflow.db, "
            "another database's address, or a server's with http:// before its name",
            permanent=True,
        )
    elif problem := health.address_problem(uri):
        raise TrackingError(f"{redacted(uri)}: {problem}; correct tracking.uri", permanent=True)
    else:  # PostgreSQL and other databases: opening one is the check
        with translated_errors(given, "open the database"):
            mlflow_client(given).search_experiments(max_results=1)


def make_store(uri: str) -> None:
    """Make the tables of a database that has none: two processes that begin at once would do it both, and fail.

    Raises:
        TrackingError: the store cannot be used.
    """
    with translated_errors(uri, "open the store"):
        mlflow_client(uri).search_experiments(max_results=1)


def store_is_new(uri: str) -> bool:
    """Return whether the store is an SQLite database that does not exist yet; does not create it."""
    place = address(uri)
    return place.startswith("sqlite:///") and not database_path(place).exists()


def download_artifact(uri: str, run_id: str, artifact_path: str, destination: Path) -> Path:
    """Download a run's artifact (a file or a folder) into `destination`.

    Returns:
        The downloaded file or folder.

    Raises:
        TrackingError: the run has no such artifact, or the store cannot be reached.
    """
    destination.mkdir(parents=True, exist_ok=True)
    reader = mlflow_client(uri)
    with translated_errors(uri, f"look for run {run_id}"):
        root = str(reader.get_run(run_id).info.artifact_uri).rpartition(f"/{run_id}/")[0]
    if missing := missing_files(root, address(uri)):
        raise TrackingError(f"could not fetch {artifact_path} of run {run_id}: {missing}", permanent=True)
    found = with_retries(
        uri,
        f"fetch {artifact_path} of run {run_id}",
        lambda: reader.download_artifacts(run_id, artifact_path, str(destination)),
        patience=10.0,
    )
    return Path(found)


def run_exists(uri: str, run_id: str) -> bool:
    """Return whether the store holds this run, not deleted.

    Raises:
        TrackingError: the store cannot be reached.
    """
    from mlflow.exceptions import MlflowException

    check_store(uri)
    try:
        with translated_errors(uri, f"look for run {run_id}"):
            run = mlflow_client(uri).get_run(run_id)
    except TrackingError as error:
        cause = error.__cause__
        if isinstance(cause, MlflowException) and cause.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
    return str(run.info.lifecycle_stage) == "active"


def load_json(uri: str, run_id: str, artifact_path: str) -> Any:
    """Read a run's JSON artifact.

    Raises:
        TrackingError: there is none, or it is not JSON.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = download_artifact(uri, run_id, artifact_path, Path(folder))
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise TrackingError(
                f"{redacted(address(uri))}: {artifact_path} of run {run_id} is not JSON ({error})"
            ) from None
