"""See that Prefect can be used, before anything is computed: its settings, its server, or its database here.

Prefect starts a temporary server where no other is named, and waits two minutes for one that has ended at once.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote

from pneumonia.boundary import explain
from pneumonia.cli.prefect_health import (
    OR_NONE,
    SECONDS,
    check_address,
    check_database,
    check_profiles,
    profiles_file,
    refusal,
    unreachable,
)
from pneumonia.environment import HTTPX_CERTIFICATES, check_certificates, proxy_variables
from pneumonia.errors import ConfigError, PneumoniaError

STARTS = 2  # of the temporary server, whose port may be taken meanwhile
LAST_LINES = 3


def load() -> None:
    """Import Prefect; with settings that it cannot read, end the program with one message."""
    warnings.filterwarnings("ignore", message="Failed to (create the Prefect home|load profiles)")
    try:
        check_certificates(HTTPX_CERTIFICATES)
        check_profiles()
        with redirect_stderr(io.StringIO()):  # it says the same twice
            importlib.import_module("prefect.main")
    except ConfigError as error:
        _leave(error)
    except Exception as error:  # noqa: BLE001 - whatever its settings make it raise
        _leave(_settings_error(error))


def _leave(error: ConfigError) -> NoReturn:
    message, code = explain(error)
    print(message, file=sys.stderr)
    sys.exit(code)


def _settings_error(error: Exception) -> ConfigError:
    words = " ".join(re.sub(r"\[type=.*|For further information.*", "", str(error)).split())[:300]
    return ConfigError(
        f"Prefect cannot read its settings ({words}); correct the variables PREFECT_… or the file of profiles: "
        f"{profiles_file()}"
    )


def check(log: Path) -> None:
    """Check the server that PREFECT_API_URL or the profile names; where none is named, start the temporary one.

    Args:
        log: file for what the temporary server prints.

    Raises:
        PneumoniaError: the server cannot be used, or not be started; within seconds, with the remedy.
    """
    import httpx
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, PREFECT_API_URL

    try:
        httpx.Client().close()
    except (ImportError, ValueError, httpx.InvalidURL) as error:  # as every client of Prefect's would fail
        raise ConfigError(_proxy_problem(error)) from None
    if url := PREFECT_API_URL.value():
        check_server(url)
        return
    database = PREFECT_API_DATABASE_CONNECTION_URL.value() or ""
    if database.startswith("sqlite") and ":memory:" not in database:
        check_database(Path(unquote(database.partition(":///")[2].partition("?")[0])))
    _start(log)


def _proxy_problem(error: Exception) -> str:
    names = proxy_variables("http", "https")
    if "SOCKS" in str(error):
        return f"{names}: a SOCKS proxy needs one more package: pip install 'httpx[socks]'; or name an HTTP proxy"
    return (
        f"{names} or NO_PROXY: hold what is no address ({error}); write http://HOST:PORT for a proxy, and names or "
        "addresses without brackets, separated by commas, in NO_PROXY"
    )


def check_server(url: str) -> None:
    """Check that the server at `url` is Prefect's, of this major version, and lets this user in.

    Raises:
        PneumoniaError: it is not.
    """
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    check_address(url)
    with temporary_settings({PREFECT_API_URL: url, PREFECT_CLIENT_MAX_RETRIES: 0}):
        client = get_client(sync_client=True, httpx_settings={"timeout": SECONDS})
        try:
            client.raise_for_api_version_mismatch()
        except (RuntimeError, ValueError, PrefectHTTPStatusError) as error:  # the first wraps what went wrong
            cause = error.__cause__ or error
            if isinstance(cause, httpx.TransportError):
                raise PneumoniaError(unreachable(url, cause)) from None
            if "incompatible versions" in str(cause):
                raise PneumoniaError(f"{url}: {cause} Upgrade the older of the two, or {OR_NONE}") from None
            status = cause.response.status_code if isinstance(cause, PrefectHTTPStatusError) else 200
            raise PneumoniaError(f"{url}: {refusal(status)}; {OR_NONE}") from None
        finally:
            client._client.close()


def _start(log: Path) -> None:
    """Start the temporary server that the flow then uses; `Prefect` itself ends it with the program."""
    from prefect.server.api.server import SubprocessASGIServer

    class Logged(SubprocessASGIServer):
        """Writes what the server prints into the log, and gives up where it ends again and again."""

        starts = 0

        def _run_uvicorn_command(self) -> subprocess.Popen[Any]:
            self.starts += 1
            if self.starts > STARTS:
                raise _ended(log)
            with _standard_error_in(log):
                return super()._run_uvicorn_command()

    server = Logged()  # Prefect keeps one instance, which its clients ask for
    failure: list[BaseException] = []

    def start() -> None:
        try:
            server.start()
        except BaseException as error:  # noqa: BLE001 - raised again below
            failure.append(error)

    thread = threading.Thread(target=start, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.2)
        process = server.server_process
        if process is not None and process.poll() not in (None, 3):  # 3: it did not start, and is started again
            raise _ended(log)
    if failure:
        raise failure[0]


@contextmanager
def _standard_error_in(log: Path) -> Iterator[None]:
    """Let what is started inside inherit the log as its standard error."""
    kept = os.dup(2)
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, 2)
        os.close(file)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _ended(log: Path) -> PneumoniaError:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    said = "".join(f"\n  {line[:300]}" for line in lines[-LAST_LINES:])
    return PneumoniaError(
        f"Prefect's temporary server ended at once; {log} says why (last lines below). Correct that, or start a server "
        f"(pneumonia ui) and set PREFECT_API_URL=http://127.0.0.1:4200/api{said}"
    )
