"""A real server in a process of its own: its start and end, its champion moved under load, more load than it takes."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import threading
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from pneumonia.config.service import ServingConfig
from pneumonia.errors import ConfigError
from pneumonia.records.export import REFERENCE
from pneumonia.serving.metrics import Metrics
from pneumonia.serving.server import run_server
from tests.support.serving import (
    DIRECT,
    NAME,
    FakeReader,
    Load,
    ServerProcess,
    champion_of,
    film,
    large_film,
    mirror,
    probability,
    server_of,
)

pytestmark = pytest.mark.integration

MIB = 2**20


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


@pytest.fixture(scope="module")
def known(exports: Path) -> dict[int, float]:
    """What each version answers about `film()`."""
    found = {version: probability(exports, version, film()) for version in (1, 2)}
    assert found[1] != pytest.approx(found[2], abs=1e-4)
    return found


@pytest.fixture
def server(work: Path, exports: Path) -> Iterator[ServerProcess]:
    mirror(work, exports, 1)
    with server_of(work) as found:
        yield found


def right(answers: list[tuple[int, dict[str, Any]]], known: dict[int, float]) -> list[str]:
    """Check that every answer names one version, and is that version's; return the versions in their order."""
    versions = []
    for _, document in (answer for answer in answers if answer[0] == 200):
        (result,) = document["results"]
        version = document["model"]["version"]
        assert result["version"] == version
        assert result["weights_digest"] == document["model"]["weights_digest"]
        assert result["probability"] == pytest.approx(known[2 - int(version) % 2], abs=1e-6), version
        versions.append(version)
    return versions


def test_it_says_what_answers_and_is_small(server: ServerProcess) -> None:
    assert f"version 1 of {NAME} answers, trained on PHANTOMS" in server.said[0]
    assert "without API keys" in server.said[1]
    assert "Not a medical device" in server.said[2]
    assert server.post("/v1/predict", film())[0] == 200
    assert server.resident() < 300 * MIB
    for line in server.log.read_text().splitlines():
        assert json.loads(line)["level"] in ("info", "warning")
    assert server.stop() == 0


def test_an_address_in_use_is_said_so(server: ServerProcess, exports: Path) -> None:
    with pytest.raises(ConfigError, match=f"{server.port} cannot be taken"):
        run_server(ServingConfig(port=server.port), FakeReader(exports), {}, Metrics())


def test_others_are_not_answered_without_keys(exports: Path) -> None:
    with pytest.raises(ConfigError, match="API keys"):
        run_server(ServingConfig(host="0.0.0.0", port=0), FakeReader(exports), {}, Metrics())  # noqa: S104


def test_keys_hold_on_every_address(work: Path, exports: Path) -> None:
    mirror(work, exports, 1)
    with server_of(work, "serving.host=0.0.0.0", environment={"PNEUMONIA_API_KEY": "secret"}) as server:
        assert "1 API key(s)" in server.said[1]
        assert server.post("/v1/predict", film())[0] == 401
        assert "secret" not in server.log.read_text() + "".join(server.said)


def test_metrics_have_a_port_of_their_own(work: Path, exports: Path) -> None:
    mirror(work, exports, 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    key = {"PNEUMONIA_API_KEY": "secret"}
    with server_of(work, f"serving.metrics_port={port}", environment=key) as server:
        own, server.url = server.url, f"http://127.0.0.1:{port}"
        assert server.metric("pneumonia_ready") == 1
        server.url = own


def test_it_starts_from_the_mirror_while_the_registry_is_away(
    work: Path, exports: Path, known: dict[int, float]
) -> None:
    mirror(work, exports, 1)
    with server_of(work, "tracking.uri=http://127.0.0.1:9") as server:
        assert right([server.post("/v1/predict", film())], known) == ["1"]
        while not server.metric("pneumonia_champion_lookup_failures_total"):
            time.sleep(0.05)
        assert json.loads(server.get("/readyz"))["version"] == "1"


def test_it_waits_for_a_first_champion(work: Path, exports: Path) -> None:
    with server_of(work) as server:
        assert "make run" in server.said[0]
        status, problem = server.post("/v1/predict", film())
        assert (status, problem["code"]) == (503, "no_champion")
        assert "make run" in problem["detail"]
        assert b"<html" in server.get("/")
        mirror(work, exports, 1)
        _until(lambda: server.post("/v1/predict", film())[0] == 200)


def test_a_champion_that_fails_is_refused_and_the_old_one_goes_on(
    server: ServerProcess, work: Path, exports: Path, tmp_path: Path, known: dict[int, float]
) -> None:
    bad = tmp_path / "bad"
    (bad / "2").parent.mkdir()
    shutil.copytree(exports / "2", bad / "2")
    arrays = load_file(bad / "2" / REFERENCE)
    save_file({key: array + 1 if "logits" in key else array for key, array in arrays.items()}, bad / "2" / REFERENCE)
    _restamped(bad / "2")
    mirror(work, bad, 2)
    _until(lambda: server.metric("pneumonia_model_swap_failures_total") >= 1)
    assert right([server.post("/v1/predict", film())], known) == ["1"]
    assert "answers otherwise" in server.log.read_text()
    mirror(work, exports, 2, "4")
    _until(lambda: right([server.post("/v1/predict", film())], known) == ["4"])


def _restamped(folder: Path) -> None:
    """Make the record of an export name its files as they are: well-formed, and wrong."""
    import hashlib

    from pneumonia.records.export import EXPORT_RECORD, ExportRecord

    record = ExportRecord.model_validate_json((folder / EXPORT_RECORD).read_text())
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in record.files}
    (folder / EXPORT_RECORD).write_text(record.model_copy(update={"files": files}).model_dump_json(indent=2))


def _until(done: Any) -> None:
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


def swap(server: ServerProcess, work: Path, exports: Path, known: dict[int, float], numbers: range) -> None:
    """Move the champion through these versions under load; check every answer."""
    with Load(server, film()) as load:
        for number in numbers:
            mirror(work, exports, 2 - number % 2, str(number))
            _until(lambda number=number: load.answers[-1:] and _version(load.answers[-1]) == str(number))
    assert {status for status, _ in load.answers} == {200}
    assert load.closed == 0
    versions = right(load.answers, known)
    assert set(versions) == {str(number) for number in (numbers.start - 1, *numbers)}
    assert server.metric("pneumonia_model_swaps_total") == numbers[-1]
    assert server.metric("pneumonia_model_swap_failures_total") == 0


def _version(answer: tuple[int, dict[str, Any]]) -> str:
    return str(answer[1].get("model", {}).get("version"))


def test_ten_swaps_under_load_fail_no_request(
    server: ServerProcess, work: Path, exports: Path, known: dict[int, float]
) -> None:
    swap(server, work, exports, known, range(2, 12))


@pytest.mark.nightly
def test_a_hundred_swaps_under_load_in_flat_memory(
    server: ServerProcess, work: Path, exports: Path, known: dict[int, float]
) -> None:
    swap(server, work, exports, known, range(2, 22))
    before = server.resident()
    swap(server, work, exports, known, range(22, 122))
    assert server.resident() - before < 48 * MIB


def request_of(content: bytes) -> bytes:
    head = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: {len(content)}"
    return head.encode() + b"\r\n\r\n" + content


def test_what_was_accepted_is_answered_after_sigterm(server: ServerProcess, known: dict[int, float]) -> None:
    request = request_of(film())
    with socket.create_connection(("127.0.0.1", server.port)) as half, Load(server, film()) as load:
        load.wait_for(20)
        half.sendall(request[:-100])
        load.wait_for(4)
        server.process.send_signal(signal.SIGTERM)
        _until(lambda: _refused(server.port))
        half.sendall(request[-100:])
        answer = b"".join(iter(lambda: half.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["results"][0]["probability"] == pytest.approx(known[1])
        assert server.process.wait(30) == 0
    assert {status for status, _ in load.answers} <= {200, 503}
    assert len(right(load.answers, known)) >= 24


def _refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionError:
        return True
    return False


def test_a_request_that_does_not_end_is_cut_after_the_time_to_drain(work: Path, exports: Path) -> None:
    mirror(work, exports, 1)
    with (
        server_of(work, "serving.drain_seconds=1") as server,
        socket.create_connection(("127.0.0.1", server.port)) as half,
    ):
        half.sendall(request_of(film())[:-100])
        time.sleep(0.3)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 20


def test_kill_9_gives_no_wrong_answer(server: ServerProcess, known: dict[int, float]) -> None:
    with Load(server, film()) as load:
        load.wait_for(20)
        server.process.kill()
        server.process.wait()
    assert {status for status, _ in load.answers} == {200}
    assert len(right(load.answers, known)) >= 20


def test_beyond_capacity_it_refuses_at_once_and_those_in_flight_finish(
    work: Path, exports: Path, known: dict[int, float]
) -> None:
    mirror(work, exports, 1)
    content = large_film(1400)
    with server_of(work, "serving.queue=2") as server:
        statuses: list[int] = []
        waits: list[str | None] = []
        threads = [threading.Thread(target=_ask, args=(server, content, statuses, waits)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(statuses) == {200, 503}
        assert set(waits) == {"1"}
        assert server.metric("pneumonia_requests_in_flight") == 1  # the one that asks
        assert server.metric("pneumonia_queue_images") == 0
        assert right([server.post("/v1/predict", film())], known) == ["1"]


def _ask(server: ServerProcess, content: bytes, statuses: list[int], waits: list[str | None]) -> None:
    request = urllib.request.Request(server.url + "/v1/predict", content, {"Content-Type": "image/jpeg"})
    for _ in range(6):
        try:
            with DIRECT.open(request, timeout=60) as answer:
                statuses.append(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                statuses.append(error.code)
                waits.append(error.headers["Retry-After"])


def test_the_champion_of_the_exports_is_the_mirrors(exports: Path, work: Path) -> None:
    assert mirror(work, exports, 1) == champion_of(exports, 1)
