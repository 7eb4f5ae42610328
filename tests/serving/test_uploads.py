"""Limits on what is sent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from pneumonia.serving.follower import Serving
from pneumonia.serving.uploads import MIB
from tests.support.serving import client_of, film, large_film, service_with

BOUNDARY = "b0undary"


@pytest.fixture
def strict(serving: Serving) -> Iterator[Any]:
    with client_of(service_with(serving, max_body=1, max_files=2)) as client:
        yield client


def form(*parts: bytes, end: bytes = b"--b0undary--\r\n") -> bytes:
    return b"".join(b"--b0undary\r\n" + part + b"\r\n" for part in parts) + end


def part(content: bytes, disposition: str = 'form-data; name="files"; filename="a"') -> bytes:
    return f"Content-Disposition: {disposition}\r\nX-Other: 1\r\n\r\n".encode() + content


def send(client: Any, body: Any, kind: str = f"multipart/form-data; boundary={BOUNDARY}", **headers: str) -> Any:
    return client.post("/v1/predict", content=body, headers={"Content-Type": kind, **headers})


def test_a_form_is_read_whatever_its_pieces(client: Any) -> None:
    body = form(part(film()), part(b"--b0undar\r\n--b0undary?"))

    def pieces() -> Iterator[bytes]:
        yield from (body[at : at + 7] for at in range(0, len(body), 7))

    for content in (body, pieces()):
        results = send(client, content).json()["results"]
        assert [each.get("code") for each in results] == [None, "unreadable"]


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_beyond_the_limit_is_refused_while_it_comes(strict: Any, declared: bool) -> None:
    sent = []

    def pieces() -> Iterator[bytes]:
        for _ in range(64):
            sent.append(1)
            yield bytes(MIB // 16)

    for kind in ("image/png", f"multipart/form-data; boundary={BOUNDARY}"):
        response = send(strict, bytes(4 * MIB) if declared else pieces(), kind)
        assert response.status_code == 413, kind
        assert response.json()["code"] == "body_too_large"
        assert "1 MiB" in response.json()["detail"]


def test_a_false_length_is_no_limit(strict: Any) -> None:
    assert send(strict, bytes(2 * MIB), "image/png", **{"Content-Length": "12"}).status_code == 413


def test_the_body_at_the_limit_is_read(strict: Any) -> None:
    assert send(strict, film() + bytes(MIB - len(film())), "image/png").status_code in (200, 422)


def test_more_files_than_allowed_are_refused(strict: Any) -> None:
    assert send(strict, form(part(b"1"), part(b"2"))).status_code == 200
    response = send(strict, form(part(b"1"), part(b"2"), part(b"3")))
    assert response.status_code == 422
    assert response.json()["code"] == "too_many_files"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (form(part(b"1"), end=b""), 400, "multipart_damaged"),
        (b"nothing of the kind", 400, "multipart_damaged"),
        (form(), 422, "no_file"),
        (form(part(b"1", 'form-data; name="file"')), 422, "unknown_field"),
        (form(b"\r\n1"), 422, "unknown_field"),
    ],
)
def test_a_form_of_another_kind_is_refused(client: Any, body: bytes, status: int, code: str) -> None:
    response = send(client, body)
    assert (response.status_code, response.json()["code"]) == (status, code)


@pytest.mark.parametrize("kind", ["multipart/form-data", f"multipart/form-data; boundary={'b' * 300}"])
def test_a_form_without_a_usable_boundary_is_refused(client: Any, kind: str) -> None:
    assert send(client, form(part(b"1")), kind).status_code == 400


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "application/x-www-form-urlencoded", "nonsense"])
def test_other_types_are_refused(client: Any, kind: str) -> None:
    response = send(client, film(), kind)
    assert response.status_code == 415
    assert "image/png" in response.headers["accept"]


def test_a_compressed_body_is_refused(client: Any) -> None:
    assert send(client, film(), "image/png", **{"Content-Encoding": "gzip"}).status_code == 415


def test_an_empty_body_is_an_unreadable_image(client: Any) -> None:
    assert send(client, b"", "image/png").json()["code"] == "unreadable"


def test_what_is_held_is_given_back(serving: Serving) -> None:
    service = service_with(serving, max_body=1, max_files=2)
    with client_of(service) as client:
        send(client, film(), "image/png")
        send(client, bytes(2 * MIB), "image/png")
        send(client, form(part(b"1"), end=b""))
        send(client, form(part(b"1"), part(b"2"), part(b"3")))
        assert service.uploads.held == 0
        service.uploads.held = 4 * MIB
        response = send(client, film(), "image/png")
        assert response.status_code == 503
        assert response.headers["retry-after"]
        assert service.uploads.held == 4 * MIB


def test_a_file_name_is_printable_and_short(client: Any) -> None:
    name = "a\x1b[2Jé" + "x" * 300
    body = form(part(film(), f'form-data; name="files"; filename="{name}"'))
    found = send(client, body).json()["results"][0]["file"]
    assert found.startswith("a?[2Jé")
    assert len(found) == 255


def test_pixels_beyond_the_limit_are_refused_by_the_header(exports: Any) -> None:
    from tests.support.serving import served

    with client_of(service_with(served(exports, max_pixels=1_000_000), max_pixels=1_000_000)) as client:
        assert send(client, film(), "image/png").status_code == 200
        large = large_film(1100)
        began = time.perf_counter()
        for path in ("/v1/predict", "/v1/explain?view=image"):
            response = client.post(path, content=large, headers={"Content-Type": "image/jpeg"})
            assert response.status_code == 422
            assert "1,000,000" in response.json()["reason"]
        assert time.perf_counter() - began < 5
