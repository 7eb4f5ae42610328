"""Start the servers that `benchmarks/serving.py` compares, each as its own documentation advises, and end them."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pneumonia.registry.mirror import Champion, Mirror, read_export

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / "benchmarks" / "peers"
START_SECONDS = 120
BOUNDARY = "gkDx4vYtq"
OLDER_OPENVINO = {"ONEDNN_MAX_CPU_ISA": "AVX2"}
OLDER_TORCH = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
"""What limits kernels to the instructions of a processor with AVX2 alone."""


@dataclass(frozen=True)
class Server:
    """A server to be measured.

    Attributes:
        what: it is, in words.
        command: with the word PORT in place of the port.
        ready: path that answers 200 once images are answered.
        request: makes the path, the content type and the body of a request from a file.
        environment: beside that of this process.
        older: what limits it to the instructions of a processor with AVX2 alone.
    """

    what: str
    command: list[str]
    ready: str
    request: Callable[[bytes], tuple[str, str, bytes]]
    environment: Mapping[str, str] = field(default_factory=dict)
    older: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Running:
    """A server that answers.

    Attributes:
        port: on 127.0.0.1.
        pid: of the process that started the others.
        ready_seconds: from its start to the first answer of its path `ready`.
    """

    port: int
    pid: int
    ready_seconds: float

    def memory(self) -> dict[str, float]:
        """Return the resident and the proportional set size of its processes, MiB."""
        sizes = {"rss": 0, "pss": 0}
        processes = group(self.pid)
        for pid in processes:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                name, _, value = line.partition(":")
                if name.lower() in sizes:
                    sizes[name.lower()] += int(value.split()[0])
        return {"processes": len(processes), **{f"{name}_mib": round(size / 1024, 1) for name, size in sizes.items()}}

    def cpu_seconds(self) -> float:
        """Return the processor time of its processes so far."""
        ticks = 0
        for pid in group(self.pid):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


def group(first: int) -> list[int]:
    """Return a process and those that descend from it."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = stat.read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                parents[int(stat.parent.name)] = int(fields[1])
    found = [first]
    for pid in found:  # grows while it is read
        found += [child for child, parent in parents.items() if parent == pid]
    return found


@contextlib.contextmanager
def running(server: Server, log: Path, *, older: bool = False) -> Iterator[Running]:
    """Start a server on a free port of this machine, wait until it is ready, and end it with all of its processes."""
    port = free_port()
    command = [word.replace("PORT", str(port)) for word in server.command]
    environment = {**os.environ, **server.environment, **(server.older if older else {})}
    with log.open("ab") as output:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=PEERS, env=environment, stdout=output, stderr=output)
        try:
            while not answers(port, server.ready):
                if process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                    raise SystemExit(f"{' '.join(command)}: does not answer; see {log}")
                time.sleep(0.01)
            yield Running(port, process.pid, time.perf_counter() - began)
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a server: it is asked to, and what is left of its processes after five seconds is killed."""
    started = group(process.pid)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
    for pid in started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def answers(port: int, path: str) -> bool:
    """Return whether a path answers 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def probability(port: int, request: tuple[str, str, bytes]) -> float:
    """Return the probability that a server answers, wherever it is in its JSON."""
    path, kind, body = request
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", path, body, {"Content-Type": kind})
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    found = re.search(rb'"probability"\s*:\s*([0-9.eE+-]+)', content)
    if answer.status != 200 or found is None:
        raise SystemExit(f"{path}: answered {answer.status}: {content[:200]!r}")
    return float(found[1])


def free_port() -> int:
    """Return a port that nothing uses now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def raw(content: bytes) -> tuple[str, str, bytes]:
    """Return a request of the file itself."""
    return "/v1/predict", "image/jpeg", content


def form(name: str) -> Callable[[bytes], tuple[str, str, bytes]]:
    """Return what makes a multipart form with one file."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="image.jpeg"\r\n'
    head += "Content-Type: image/jpeg\r\n\r\n"

    def request(content: bytes) -> tuple[str, str, bytes]:
        body = head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()
        return "/predict", f"multipart/form-data; boundary={BOUNDARY}", body

    return request


def encoded(content: bytes) -> tuple[str, str, bytes]:
    """Return LitServe's request of an image."""
    return "/predict", "application/json", json.dumps({"image_data": base64.b64encode(content).decode()}).encode()


def frame(content: bytes) -> tuple[str, str, bytes]:
    """Return MLflow's request of an image."""
    rows = {"columns": ["image"], "data": [[base64.b64encode(content).decode()]]}
    return "/invocations", "application/json", json.dumps({"dataframe_split": rows}).encode()


def wire(port: int, request: tuple[str, str, bytes]) -> bytes:
    """Return a whole request as it is sent."""
    path, kind, body = request
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def write_mirror(export: Path, work: Path) -> None:
    """Write a work folder whose champion is an exported model."""
    record = read_export(export)
    model = json.loads((export / "record.json").read_text(encoding="utf-8"))
    champion = Champion(
        name=model["name"],
        version="1",
        run_id="0" * 32,
        phantom=model["phantom"],
        model_digest=record.model_digest,
        export_digest=record.digest(),
    )
    mirror = Mirror(work, champion.name)

    def fetch(place: Path) -> None:
        for path in export.iterdir():
            (place / path.name).write_bytes(path.read_bytes())

    mirror.folder(champion, fetch)
    mirror.write(champion)


def ours(work: Path, *settings: str) -> Server:
    """Return this project's service, which answers from the mirror in a work folder."""
    words = [word for setting in (f"work={work}", *settings) for word in ("--set", setting)]
    return Server(
        "pneumonia serve",
        [sys.executable, "-m", "pneumonia", "serve", "--port", "PORT", *words],
        "/readyz",
        raw,
        {"PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": ""},
        OLDER_OPENVINO,
    )


def peers(python: Path, weights: Path, folder: Path, cores: int) -> dict[str, Server]:
    """Return the peers.

    FastAPI runs as the field's projects do: one process, torch's own number of threads. The others run one process a
    core, as the documentation of each says to use a machine, with one thread each, without which torch would start as
    many threads in each as there are cores.

    Args:
        python: of the environment that they are installed in.
        weights: a model's .safetensors.
        folder: for what they write.
        cores: that there are.
    """
    common = {"PEER_WEIGHTS": str(weights.resolve()), "BENTOML_HOME": str(folder / "bentoml")}
    common |= {"BENTOML_DO_NOT_TRACK": "True", "PYTHONPATH": str(PEERS), "PYTHONWARNINGS": "ignore"}
    parallel = common | {"PEER_WORKERS": str(cores), "OMP_NUM_THREADS": "1"}
    programs = python.parent
    model = folder / "mlflow-model"
    subprocess.run(
        [python, "mlflow_model.py", str(model)],
        cwd=PEERS,
        env={**os.environ, **parallel},
        check=True,
        capture_output=True,
    )
    uvicorn = [str(python), "-m", "uvicorn", "fastapi_app:app", "--port", "PORT", "--log-level", "warning"]
    litserve = [str(python), "litserve_app.py", "PORT"]
    bentoml = [str(programs / "bentoml"), "serve", "bentoml_app:Pneumonia", "--host", "127.0.0.1", "--port", "PORT"]
    mlflow = [str(programs / "mlflow"), "models", "serve", "-m", str(model), "--env-manager", "local"]
    mlflow += ["-h", "127.0.0.1", "-p", "PORT", "-w", str(cores)]
    return {
        "fastapi": Server("FastAPI, torch eager, Pillow RGB", uvicorn, "/health", form("file"), common, OLDER_TORCH),
        "mlflow": Server("mlflow models serve", mlflow, "/ping", frame, parallel | path(programs), OLDER_TORCH),
        "litserve": Server("LitServe", litserve, "/health", encoded, parallel, OLDER_TORCH),
        "bentoml": Server("BentoML", bentoml, "/readyz", form("image"), parallel | path(programs), OLDER_TORCH),
    }


def path(programs: Path) -> dict[str, str]:
    """Return the search path that finds an environment's programs, as if it were activated."""
    return {"PATH": f"{programs}:{os.environ['PATH']}"}
