"""A service for tests: a reader that says what a test has set, a client in this process, and a server in another."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumonia.config.schema import Config
from pneumonia.config.service import MonitoringConfig, ServingConfig
from pneumonia.errors import PneumoniaError
from pneumonia.inference.served_model import ServedModel
from pneumonia.registry.mirror import Champion, Mirror, read_export
from pneumonia.serving.app import create_app
from pneumonia.serving.follower import Follower, Serving
from pneumonia.serving.keys import Keys
from pneumonia.serving.metrics import Metrics
from pneumonia.serving.monitoring import Monitoring
from pneumonia.serving.pool import Pool
from pneumonia.serving.service import Service
from tests.support.exports import champion, export, phantoms

NAME = "pneumonia-resnet18-phantom"
LOCAL = "http://localhost"


def make_exports(folder: Path) -> None:
    """Export two models whose answers differ, as versions 1 and 2."""
    for version in (1, 2):
        export(folder / str(version), seed=version)


def champion_of(exports: Path, version: int | str, number: str | None = None) -> Champion:
    """The champion that an export belongs to, under its own or another version number."""
    return champion(read_export(exports / str(version)), number or str(version), NAME)


def film(number: int = 0) -> bytes:
    """A phantom as a PNG file."""
    content = io.BytesIO()
    Image.fromarray(phantoms(4, 3).pixels[number]).save(content, "PNG")
    return content.getvalue()


def pixels_of(content: bytes) -> NDArray[np.uint8]:
    """The grey levels of a picture file."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("L"))


def large_film(side: int = 1400) -> bytes:
    """A phantom as a JPEG of a radiograph's size."""
    content = io.BytesIO()
    Image.fromarray(phantoms(4, 3).pixels[0]).resize((side, side)).save(content, "JPEG", quality=90)
    return content.getvalue()


class FakeReader:
    """A registry that says what a test has set: champions by folder, or an error."""

    def __init__(self, exports: Path) -> None:
        self.exports = exports
        self.now: Champion | None = None
        self.in_mirror: Champion | None = None
        self.error: PneumoniaError | None = None
        self.folders: dict[str, Path] = {}
        self.asked = self.fetched = 0

    def champion(self) -> Champion | None:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.now

    def mirrored(self) -> Champion | None:
        return self.in_mirror

    def folder(self, champion: Champion) -> Path:
        self.fetched += 1
        return self.folders.get(champion.version, self.exports / champion.version)


class Still:
    """A source whose model never changes."""

    def __init__(self, current: Serving | None, why: str = "") -> None:
        self.current, self.why = current, why


def served(exports: Path, version: int = 1, **settings: Any) -> Serving:
    """A model that answers."""
    config = ServingConfig(threads=1, **settings)
    found = champion_of(exports, version)
    return Serving(ServedModel(exports / str(version), found.name, found.version, config), found)


def service_with(
    current: Serving | None, keys: Keys | None = None, work: Path | None = None, **settings: Any
) -> Service:
    """A service of one thread in this process; with a work folder it records."""
    config = ServingConfig(**({"threads": 1} | settings))
    pool, metrics = Pool(config.threads, config.queue), Metrics()
    monitoring = None if work is None else Monitoring(recording_in(work), metrics.monitoring)
    return Service(config, Still(current, "no model is champion yet"), pool, metrics, keys or Keys(), monitoring)


def recording_in(work: Path, **settings: Any) -> Config:
    """A configuration whose monitoring has its database in a work folder."""
    return Config(work=str(work), monitoring=MonitoringConfig(**settings))


@contextlib.contextmanager
def client_of(service: Service) -> Iterator[Any]:
    """A client of a service in this process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # starlette asks for httpx2, which does not differ in what is used here
        from starlette.testclient import TestClient
    with TestClient(create_app(service), base_url=LOCAL, raise_server_exceptions=False) as client:
        yield client
    service.pool.close()
    if service.monitoring is not None:
        service.monitoring.stop()


def new_follower(reader: FakeReader, **settings: Any) -> tuple[Follower, Metrics]:
    """A follower that looks when a test calls it."""
    metrics = Metrics()
    return Follower(reader, ServingConfig(**({"threads": 1} | settings)), metrics), metrics


def mirror(work: Path, exports: Path, version: int, number: str | None = None) -> Champion:
    """Make a version the champion that the mirror in a work folder names, as a promotion does."""
    found = champion_of(exports, version, number)
    held = Mirror(work, found.name)
    held.folder(found, lambda place: _copy(exports / str(version), place))
    held.write(found)
    return found


def _copy(source: Path, target: Path) -> None:
    for file in source.iterdir():
        if file.name != "complete":
            shutil.copyfile(file, target / file.name)


Result = TypeVar("Result")
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks this machine: `urlopen` keeps the proxies of its first call, which may have been a test's of proxies."""
RUN = """
import sys
from pneumonia.config.resolve import resolve
from pneumonia.serving.server import run
run(resolve(assignments=sys.argv[1:], environment={}))
"""


def run_loop(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine in a thread of its own: Playwright's loop runs in the tests' thread while its browser is open."""
    with ThreadPoolExecutor(1) as apart:
        return apart.submit(asyncio.run, coroutine).result()


class ServerProcess:
    """A server in another process, on a free port.

    Attributes:
        said: the lines on its standard output.
    """

    def __init__(self, work: Path, *settings: str, environment: Mapping[str, str] | None = None) -> None:
        assignments = [f"work={work}", "serving.port=0", "serving.threads=1", "serving.follow_seconds=0.1", *settings]
        self.log = work.parent / f"{work.name}.log"
        self._errors = self.log.open("wb")
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, *assignments],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=os.environ | dict(environment or {}),
        )
        assert self.process.stdout is not None
        self.said = [self.process.stdout.readline()]
        found = re.match(r"(http://\S+): ", self.said[0])
        assert found, (self.said, self.log.read_text())
        self.url = found.group(1)
        self.said += [self.process.stdout.readline() for _ in range(2)]
        self._wait_until_alive()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def _wait_until_alive(self) -> None:
        while True:
            try:
                self.get("/healthz")
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.02)
            else:
                return

    def get(self, path: str) -> bytes:
        with DIRECT.open(self.url + path, timeout=60) as answer:
            content: bytes = answer.read()
            return content

    def post(self, path: str, content: bytes, kind: str = "application/octet-stream") -> tuple[int, dict[str, Any]]:
        """The status and the document of an answer; on a connection of its own."""
        request = urllib.request.Request(self.url + path, content, {"Content-Type": kind})
        try:
            with DIRECT.open(request, timeout=120) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def metric(self, name: str) -> float:
        """The sum of a metric's samples."""
        lines = self.get("/metrics").decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if re.match(rf"{name}(\{{|\s)", line))

    def resident(self) -> int:
        """Bytes of memory."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._errors.close()
        return code


@contextlib.contextmanager
def server_of(work: Path, *settings: str, environment: Mapping[str, str] | None = None) -> Iterator[ServerProcess]:
    """A running server, which is ended."""
    server = ServerProcess(work, *settings, environment=environment)
    try:
        yield server
    finally:
        server.stop(signal.SIGKILL)


class Load:
    """Threads that ask a server one request after another, and keep what came back.

    Attributes:
        answers: (status, document) of each answer.
        closed: requests whose connection ended without an answer.
    """

    def __init__(self, server: ServerProcess, content: bytes, threads: int = 4) -> None:
        self.answers: list[tuple[int, dict[str, Any]]] = []
        self.closed = 0
        self._server, self._content = server, content
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._over.is_set():
            try:
                self.answers.append(self._server.post("/v1/predict", self._content))
            except (OSError, EOFError, HTTPException):
                self.closed += 1
                if self._server.process.poll() is not None:
                    return

    def wait_for(self, count: int) -> None:
        """Wait until so many more answers have come."""
        wanted = len(self.answers) + count
        while len(self.answers) < wanted:
            time.sleep(0.01)


def probability(exports: Path, version: int, content: bytes) -> float:
    """What a version answers, computed in this process."""
    model = served(exports, version).model
    answer = model.answer(content)
    assert answer.outputs is not None
    return float(np.float64(answer.outputs.probability))
