"""MLflow's page and Prefect's for the runs made here: two servers of this process, on this machine only."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import requests

from pneumonia.cli import server_keeper, server_notes
from pneumonia.config.schema import Config
from pneumonia.errors import PneumoniaError
from pneumonia.tracking.client import DEFAULTS, address, check_store, tracking_uri

HOST = "127.0.0.1"
START_SECONDS = 240.0  # a first start writes some hundred tables, on a busy machine in minutes
END_SECONDS = 10.0
LAST_LINES = 8
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Server:
    """A server to start.

    Attributes:
        name: for people.
        port: to listen on; `option` sets another.
        option: of the command line.
        command: to start it with, without a shell.
        health: path that answers 200 once it is up.
        environment: variables beyond this process's own.
        without: variables of this process that it does not get.
    """

    name: str
    port: int
    option: str
    command: tuple[str, ...]
    health: str
    environment: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"


def show(config: Config, mlflow_port: int, prefect_port: int, tell: Tell) -> None:
    """Start the servers, tell their addresses once both answer, and end them on SIGINT, SIGTERM or SIGHUP.

    A server that runs already (``MLFLOW_TRACKING_URI``, ``PREFECT_API_URL``) is named and not started again.

    Args:
        config: names the tracking store and the work folder, where the servers' logs go.
        mlflow_port: for MLflow's page.
        prefect_port: for Prefect's page.
        tell: called with each line for the user.

    Raises:
        PneumoniaError: a port is taken, or a server does not come up or ends by itself.
        TrackingError: the tracking store cannot be used.
    """
    uri = address(tracking_uri(config))
    check_store(uri)
    remote = uri if uri.startswith("http") else None
    elsewhere = _answering(os.environ.get("PREFECT_API_URL"))
    servers = [] if remote else [_mlflow(uri, mlflow_port, Path(config.work).resolve())]
    installed = importlib.util.find_spec("prefect") is not None  # its package is an extra
    if elsewhere is None and installed:
        servers.append(_prefect(prefect_port))
    folder = Path(config.work).resolve() / "ui"
    for server in servers:
        _check_port(server, folder)
    ports = [server.port for server in servers]
    with _stop_requested() as stop, server_notes.announced(folder, ports), _running(servers, folder) as running:
        if not _wait(running, stop):
            return
        tell(f"MLflow   {_runs_page(remote or f'http://{HOST}:{mlflow_port}', config.tracking.experiment)}")
        here = (
            f"http://{HOST}:{prefect_port}"
            if installed
            else "is not installed; pip install 'pneumonia[flow]' brings it"
        )
        tell(f"Prefect  {elsewhere or here}")
        if running:
            tell("Ctrl-C ends " + " and ".join(server.name for server in servers))
            _watch(running, stop)


def _check_port(server: Server, folder: Path) -> None:
    """Raise where the server's port is taken, by an earlier call on the same work folder or by somebody else."""
    problem = port_problem(server.port)
    if problem is None:
        return
    if pid := server_notes.holder(folder, server.port):
        problem = f"is taken: pneumonia ui is already running there, pid {pid}; stop it with kill {pid}, or"
    else:
        problem += ";"
    raise PneumoniaError(f"{server.name}: port {server.port} {problem} choose another with {server.option}")


def port_problem(port: int) -> str | None:
    """Why no server can listen on `port` of this machine; None where one can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"is taken{_holder(port)}"
            return f"cannot be opened ({error.strerror})"
    return None


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and bool(connection.laddr)
            if listens and tuple(connection.laddr)[1:] == (port,) and connection.pid:
                return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    except psutil.Error:
        pass  # other accounts' processes are not shown to everybody
    return ""


def _mlflow(uri: str, port: int, work: Path) -> Server:
    command = (
        *(sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", uri, "--artifacts-destination", str(work / "artifacts")),
    )
    # Jobs are for language models' judges and take 1.6 GB.
    extra = {**DEFAULTS, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return Server("MLflow", port, "--mlflow-port", command, "/health", {**extra, **_given(extra)})


def _prefect(port: int) -> Server:
    extra = {
        "PREFECT_SERVER_UI_API_URL": "/api",  # otherwise the page asks port 4200, whatever the port
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    command = (sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port))
    without = ("PREFECT_API_URL",)
    return Server("Prefect", port, "--prefect-port", command, "/api/health", {**extra, **_given(extra)}, without)


def _given(names: Mapping[str, str]) -> dict[str, str]:
    """What the user has set of these variables."""
    return {name: os.environ[name] for name in names if name in os.environ}


def _answering(api: str | None) -> str | None:
    """The page of the Prefect server at `api`, if one answers there."""
    if not api:
        return None
    try:
        answer = requests.get(f"{api.rstrip('/')}/health", timeout=3)
    except requests.RequestException:
        return None
    return api.rstrip("/").removesuffix("/api") if answer.ok else None


@contextlib.contextmanager
def _stop_requested() -> Iterator[threading.Event]:
    """An event that the signals to end set; the handlers that were there come back at the end."""
    stop = threading.Event()
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number in kept:
        signal.signal(number, lambda *_: stop.set())
    try:
        yield stop
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class _Running:
    """A server that was started; its output goes to `log`."""

    server: Server
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise where it has ended by itself."""
        if self.process.poll() is not None:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
            said = "".join(f"\n  {line}" for line in lines)
            raise PneumoniaError(f"{self.server.name}: ended with {self.process.returncode}; see {self.log}:{said}")

    def signal(self, number: signal.Signals) -> None:
        """Signal its whole group, which is its own."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


@contextlib.contextmanager
def _running(servers: list[Server], logs: Path) -> Iterator[list[_Running]]:
    """The servers as processes of this one; at the end none is left, and neither where this process is killed."""
    running: list[_Running] = []
    alive, kept = os.pipe()
    try:
        for server in servers:
            running.append(_start(server, logs, alive))
        yield running
    finally:
        for each in running:
            each.signal(signal.SIGTERM)
        end = time.monotonic() + END_SECONDS
        for each in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                each.process.wait(max(0.0, end - time.monotonic()))
            each.signal(signal.SIGKILL)  # what the server itself has started may outlive it
            each.process.wait()
        os.close(alive)
        os.close(kept)


def _start(server: Server, logs: Path, alive: int) -> _Running:
    environment = {name: value for name, value in os.environ.items() if name not in server.without}
    log = logs / f"{server.name.lower()}.log"
    try:
        logs.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            process = subprocess.Popen(
                server_keeper.command(alive, server.command),
                env={**environment, **server.environment},
                cwd=logs,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches this process alone, which ends them in order
                pass_fds=(alive,),
            )
    except OSError as error:
        raise PneumoniaError(
            f"{log}: cannot be written ({error.strerror}); make the folder writable, or --set work=DIR"
        ) from None
    return _Running(server, process, log)


def _wait(running: list[_Running], stop: threading.Event) -> bool:
    """Wait until all answer; False where the user ends it before."""
    end = time.monotonic() + START_SECONDS
    waiting = list(running)
    while waiting:
        for each in running:
            each.check()
        waiting = [each for each in waiting if not _answers(each.server)]
        if waiting and time.monotonic() > end:
            logs = ", ".join(str(each.log) for each in waiting)
            raise PneumoniaError(f"no answer after {START_SECONDS:.0f} s; see {logs}")
        if waiting and stop.wait(0.2):
            return False
    return not stop.is_set()


def _watch(running: list[_Running], stop: threading.Event) -> None:
    while not stop.wait(0.5):
        for each in running:
            each.check()


def _answers(server: Server) -> bool:
    try:
        return requests.get(server.url + server.health, timeout=2).ok
    except requests.RequestException:
        return False


def _runs_page(url: str, experiment: str) -> str:
    """The table of runs; MLflow's page opens in another mode by default."""
    address = f"{url.rstrip('/')}/api/2.0/mlflow/experiments/get-by-name"
    answer = requests.get(address, params={"experiment_name": experiment}, timeout=20)
    if not answer.ok:
        return f"{url}/#/experiments"  # no run was made yet
    identity = answer.json()["experiment"]["experiment_id"]
    return f"{url}/#/experiments/{identity}/runs?workflowType=machine_learning"
