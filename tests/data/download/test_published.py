"""Fetching the published archive, against a real HTTP server on this machine."""

from __future__ import annotations

import hashlib
import http.server
import json
import logging
import shutil
import socket
import threading
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from pneumonia.data.download import http as downloader
from pneumonia.data.download.published import fetch
from pneumonia.errors import ConfigError, DataError
from tests.support.archives import PARTS, files, make_images, published, zipped
from tests.support.images import jpeg, picture


class Server(http.server.ThreadingHTTPServer):
    """Serves one content under every path, as badly as it is told to."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.ranges = True
        self.etag = '"one"'
        self.shift = 0  # bytes by which a part begins too late, once
        self.statuses: list[int] = []  # answered first, one a request
        self.drops: list[int] = []  # bytes after which a connection is cut, one a request
        self.asked: list[str | None] = []  # the Range of every request

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/public-files/radiographs.zip"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", server.url)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        start = 0
        if wanted and server.ranges and self.headers.get("If-Range") == server.etag:
            start = int(wanted.removeprefix("bytes=").rstrip("-")) + server.shift
            server.shift = 0
        if start >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(server.content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        end = start + server.drops.pop(0) if server.drops else len(server.content)
        self.wfile.write(server.content[start:end])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    serving = Server(zipped(published()))
    thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield serving
    serving.shutdown()
    serving.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloader, "PAUSE", 0.01)
    monkeypatch.setattr(downloader, "_CHUNK", 256)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_images_arrive_once_and_nothing_else_does(server: Server, tmp_path: Path) -> None:
    bytes_seen: list[tuple[int, int]] = []
    images_seen: list[tuple[int, int]] = []
    digest = hashlib.sha256(server.content).hexdigest()
    root = fetch(
        tmp_path,
        server.url,
        digest.upper(),
        lambda done, total: bytes_seen.append((done, total)),
        lambda done, total: images_seen.append((done, total)),
    )
    assert root == tmp_path / "chest_xray"
    assert files(root) == {f"{part}/image{at}.jpeg" for at, part in enumerate(PARTS)}
    assert (root / "train/NORMAL/image0.jpeg").read_bytes() == jpeg(picture(0))
    size = len(server.content)
    assert bytes_seen[0] == (0, size)
    assert bytes_seen[-1] == (size, size)
    assert images_seen[-1] == (6, 6)
    assert {path.name for path in tmp_path.iterdir()} == {"chest_xray", "radiographs.zip", "radiographs.zip.json"}
    record = json.loads((tmp_path / "radiographs.zip.json").read_text())
    assert record == {"url": server.url, "bytes": size, "sha256": digest}


def test_what_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    fetch(tmp_path, server.url)
    fetch(tmp_path, server.url)
    assert len(server.asked) == 1


def test_an_archive_that_is_there_is_unpacked_without_a_download(server: Server, tmp_path: Path) -> None:
    (fetch(tmp_path, server.url)).rename(tmp_path / "elsewhere")
    root = fetch(tmp_path, server.url)
    assert len(server.asked) == 1
    assert len(files(root)) == 6


def test_an_archive_of_another_address_is_not_taken(server: Server, tmp_path: Path) -> None:
    fetch(tmp_path, server.url).rename(tmp_path / "elsewhere")
    fetch(tmp_path, server.url.replace("public", "other"))
    assert len(server.asked) == 2


def test_without_a_checksum_the_hash_is_recorded_and_told(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        fetch(tmp_path, server.url)
    digest = hashlib.sha256(server.content).hexdigest()
    assert digest in caplog.text
    assert "not verified" in caplog.text


def test_a_broken_connection_is_taken_up_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.drops = [1024, 2048]
    root = fetch(tmp_path, server.url, hashlib.sha256(server.content).hexdigest())
    assert server.asked == [None, "bytes=1024-", "bytes=3072-"]
    assert len(files(root)) == 6


def test_a_redirection_is_followed_by_the_rest_of_a_broken_download_too(server: Server, tmp_path: Path) -> None:
    server.drops = [1024]
    fetch(tmp_path, server.url.replace("public-files/radiographs.zip", "moved"))
    assert server.asked == [None, None, "bytes=1024-", "bytes=1024-"]  # each address is asked


def test_a_disk_without_room_is_told_before_it_is_full(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=100))
    with pytest.raises(DataError, match=r"bytes are missing and 100 are free; free space"):
        fetch(tmp_path, server.url)
    assert list(tmp_path.iterdir()) == []


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.drops = [1024]
    fetch(tmp_path, server.url, hashlib.sha256(server.content).hexdigest())
    assert server.asked == [None, "bytes=1024-"]


def test_a_server_that_names_no_version_starts_over(server: Server, tmp_path: Path) -> None:
    server.etag = ""
    server.drops = [1024]
    fetch(tmp_path, server.url, hashlib.sha256(server.content).hexdigest())
    assert server.asked == [None, None]


def test_a_connection_that_keeps_breaking_is_given_up_and_taken_up_by_the_next_call(
    server: Server, tmp_path: Path
) -> None:
    server.drops = [1536] + [0] * 4
    with pytest.raises(DataError) as caught:
        fetch(tmp_path, server.url)
    message = str(caught.value)
    assert server.url in message
    assert "1536 bytes are kept" in message
    assert {path.name for path in tmp_path.iterdir()} == {"radiographs.zip.part", "radiographs.zip.part.json"}
    server.asked.clear()
    root = fetch(tmp_path, server.url, hashlib.sha256(server.content).hexdigest())
    assert server.asked == ["bytes=1536-"]
    assert len(files(root)) == 6


def test_two_versions_of_a_file_are_never_pieced_together(server: Server, tmp_path: Path) -> None:
    server.drops = [1536] + [0] * 4
    with pytest.raises(DataError):
        fetch(tmp_path, server.url)
    server.content, server.etag = zipped(make_images()), '"two"'
    fetch(tmp_path, server.url, hashlib.sha256(server.content).hexdigest())


def test_a_download_killed_before_its_last_step_needs_no_byte(server: Server, tmp_path: Path) -> None:
    part = tmp_path / "radiographs.zip.part"
    part.write_bytes(server.content)
    part.with_name(part.name + ".json").write_text(json.dumps({"url": server.url, "version": server.etag}))
    fetch(tmp_path, server.url, hashlib.sha256(server.content).hexdigest())
    assert server.asked == [f"bytes={len(server.content)}-"]


def test_a_part_that_was_not_asked_for_is_not_appended(server: Server, tmp_path: Path) -> None:
    server.drops, server.shift = [1024], 10
    fetch(tmp_path, server.url, hashlib.sha256(server.content).hexdigest())
    assert server.asked == [None, "bytes=1024-", None]


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 429]
    fetch(tmp_path, server.url)
    assert len(server.asked) == 3


def test_a_missing_file_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    server.statuses = [404]
    with pytest.raises(DataError, match=r"radiographs\.zip: the server answers 404 Not Found; check the address"):
        fetch(tmp_path, server.url)
    assert len(server.asked) == 1
    assert list(tmp_path.iterdir()) == []


def test_no_server_is_told_with_its_address(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/radiographs.zip"
    with pytest.raises(DataError, match=r"cannot be downloaded \(no connection to the server\)") as caught:
        fetch(tmp_path, url)
    assert url in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["radiographs.zip", "ftp://example.org/radiographs.zip", "http://"])
def test_something_that_is_no_web_address_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(DataError, match="is not a web address"):
        fetch(tmp_path, url)


def test_a_wrong_checksum_removes_the_archive(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="instead of 0000") as caught:
        fetch(tmp_path, server.url, "0" * 64)
    assert server.url in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_archive_that_changed_on_the_disk_is_removed(server: Server, tmp_path: Path) -> None:
    fetch(tmp_path, server.url).rename(tmp_path / "elsewhere")
    with (tmp_path / "radiographs.zip").open("ab") as file:
        file.write(b"more")
    with pytest.raises(DataError, match="so it was removed"):
        fetch(tmp_path, server.url)
    fetch(tmp_path, server.url)


def test_a_checksum_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="64 hexadecimal digits"):
        fetch(tmp_path, "http://127.0.0.1/radiographs.zip", "abc")


def test_a_page_instead_of_an_archive_is_told(server: Server, tmp_path: Path) -> None:
    server.content = b"<!doctype html><title>Moved</title>" * 50
    with pytest.raises(DataError, match=r"does not send a zip file, it begins with b'<!doctype html>.*may have moved"):
        fetch(tmp_path, server.url)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_the_set_is_not_touched(server: Server, tmp_path: Path) -> None:
    (tmp_path / "chest_xray" / "train" / "NORMAL").mkdir(parents=True)
    with pytest.raises(DataError, match=r"chest_xray: exists already and is not complete; move it away"):
        fetch(tmp_path, server.url)
    assert server.asked == []


def test_a_destination_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="below: cannot be created"):
        fetch(tmp_path / "file" / "below", "http://127.0.0.1/radiographs.zip")


def test_a_second_process_is_turned_away(server: Server, tmp_path: Path) -> None:
    import fcntl

    with (tmp_path / "radiographs.zip.part").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another process is downloading it"):
            fetch(tmp_path, server.url)


@pytest.mark.parametrize(
    "name",
    [
        "../outside.jpeg",
        "chest_xray/train/NORMAL/../../../../outside.jpeg",
        "/absolute/outside.jpeg",
        "..\\outside.jpeg",
    ],
)
def test_paths_that_lead_out_are_refused_before_anything_is_written(server: Server, tmp_path: Path, name: str) -> None:
    server.content = zipped(make_images() | {name: b"out"})
    with pytest.raises(DataError, match="is outside the folder; do not trust this archive") as caught:
        fetch(tmp_path / "data", server.url)
    assert server.url in str(caught.value)
    assert not (tmp_path / "data" / "chest_xray").exists()
    assert not list(tmp_path.rglob("outside*"))
