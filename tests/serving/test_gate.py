"""What every request passes: ids, headers, problems, keys, the log."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest

from pneumonia.serving.follower import Serving
from pneumonia.serving.gate import OPEN
from pneumonia.serving.information import PAGE
from pneumonia.serving.keys import Keys
from pneumonia.serving.logs import JsonFormatter
from pneumonia.serving.routes import ROUTES, Route
from tests.support.serving import client_of, film, service_with

KEY = "a key that nobody guesses"
PATHS = [route.path for route in ROUTES]


def keys(rate: int = 0, *names: str) -> Keys:
    return Keys([hashlib.sha256(name.encode()).digest() for name in names or (KEY,)], rate)


@pytest.fixture
def guarded(serving: Serving) -> Iterator[Any]:
    with client_of(service_with(serving, keys())) as client:
        yield client


@pytest.mark.parametrize("given", ["abc-1.2_3:4", "0" * 64])
def test_a_sane_request_id_is_taken_over(client: Any, given: str) -> None:
    for path in ("/healthz", "/nowhere"):
        response = client.get(path, headers={"X-Request-ID": given})
        assert response.headers["x-request-id"] == given
    assert response.json()["request_id"] == given


@pytest.mark.parametrize("given", ["", "0" * 65, "a b", "<script>", "é"])
def test_another_request_id_is_replaced(client: Any, given: str) -> None:
    found = client.get("/healthz", headers={"X-Request-ID": given.encode()}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", found)


def test_every_answer_has_the_headers_of_a_strict_page(client: Any) -> None:
    for response in (client.get("/"), client.get("/healthz"), client.get("/nowhere"), client.post("/v1/predict")):
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "frame-ancestors 'none'" in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"


def test_the_page_and_its_files_are_served(client: Any) -> None:
    assert client.get("/").headers["content-type"].startswith("text/html")
    for file in PAGE.iterdir():
        assert client.get(f"/static/{file.name}").status_code == 200
    assert client.get("/static/../app.py").status_code == 404
    assert client.get("/static/nothing.js").json()["code"] == "not_found"


def test_the_documentation_asks_no_other_host(client: Any) -> None:
    page = client.get("/docs")
    assert "unsafe-inline" not in page.headers["content-security-policy"].partition("style-src")[0]
    for path in re.findall(r'(?:src|href)="(/[^"]+)"', page.text):
        assert client.get(path).status_code == 200, path
    assert "http:" not in page.text
    assert "https:" not in page.text
    assert client.get("/docs/nothing.js").status_code == 404


def test_a_head_request_is_answered_without_a_body(client: Any) -> None:
    for path in ("/healthz", "/readyz", "/"):
        assert client.head(path).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/v1/predict", 405, "method_not_allowed"),
        ("DELETE", "/v1/model", 405, "method_not_allowed"),
        ("GET", "/v1/samples/none.png", 404, "not_found"),
    ],
)
def test_an_error_is_a_problem_document(client: Any, method: str, path: str, status: int, code: str) -> None:
    response = client.request(method, path)
    assert response.headers["content-type"] == "application/problem+json"
    found = response.json()
    assert response.status_code == found["status"] == status
    assert found["code"] == code
    assert found["type"] == f"urn:pneumonia:problem:{code}"
    assert found["title"]
    assert found["detail"]
    if status == 405:
        assert response.headers["allow"]


def test_a_failure_says_nothing_of_the_code(
    client: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("inner words")

    monkeypatch.setattr("pneumonia.serving.card.card", fail)
    response = client.get("/v1/model")
    assert response.status_code == 500
    assert "inner words" not in response.text
    assert response.json()["request_id"] in response.json()["detail"]
    assert "inner words" in caplog.text


def test_without_keys_another_hosts_name_is_not_answered(client: Any) -> None:
    """A page of another site cannot read the answers under a name that it has made to lead to this machine."""
    assert client.get("/healthz", headers={"Host": "evil.example"}).status_code == 421
    for host in ("localhost:8000", "127.0.0.1", "[::1]:8000", "[::1]", "LOCALHOST"):
        assert client.get("/healthz", headers={"Host": host}).status_code == 200


def _requests(route: Route) -> tuple[str, str]:
    return route.method, re.sub(r"\{\w+\}", "x", route.path)


@pytest.mark.parametrize("route", ROUTES, ids=PATHS)
def test_every_route_but_health_and_the_page_asks_for_the_key(guarded: Any, route: Route) -> None:
    method, path = _requests(route)
    response = guarded.request(method, path, content=film() if method == "POST" else None)
    if route.path in OPEN:
        assert response.status_code == 200
        return
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")
    for given in ({"Authorization": f"Bearer {KEY}"}, {"X-API-Key": KEY}):
        assert guarded.request(method, path, headers=given).status_code != 401
    for wrong in ({"Authorization": f"Basic {KEY}"}, {"X-API-Key": KEY[:-1]}, {"X-API-Key": ""}):
        assert guarded.request(method, path, headers=wrong).status_code == 401


def test_what_is_open_is_health_and_the_page() -> None:
    assert set(OPEN) == {"/", "/monitor", "/healthz", "/readyz"}


def test_unknown_paths_and_other_methods_ask_for_the_key_too(guarded: Any) -> None:
    assert guarded.get("/nowhere").status_code == 401
    assert guarded.delete("/v1/model").status_code == 401
    assert guarded.head("/v1/model").status_code == 401
    assert guarded.get("/static/index.html").status_code == 200


def test_each_key_has_a_rate_of_its_own(serving: Serving) -> None:
    with client_of(service_with(serving, keys(3, "one", "two"))) as client:
        statuses = [client.get("/v1/model", headers={"X-API-Key": "one"}).status_code for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        refused = client.get("/v1/model", headers={"X-API-Key": "one"})
        assert 1 <= int(refused.headers["retry-after"]) <= 21
        assert refused.json()["code"] == "too_many_requests"
        assert client.get("/v1/model", headers={"X-API-Key": "two"}).status_code == 200
        assert client.get("/healthz").status_code == 200


def test_the_log_names_the_request_and_nothing_of_the_file(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    sent = {"X-Request-ID": "mine"}
    client.post("/v1/predict", files={"files": ("Jane Doe.png", film())}, headers=sent)
    client.post("/v1/predict?who=Jane", files={"files": ("Jane Doe.png", b"Jane")}, headers=sent)
    client.get("/Jane", headers=sent)
    lines = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    assert "Jane" not in json.dumps([line for line in lines if not line["logger"].startswith("httpx")])
    found = [line for line in lines if line["message"] == "request"]
    assert [line["request_id"] for line in found] == ["mine"] * 3
    assert [line["status"] for line in found] == [200, 422, 404]
    assert [line["route"] for line in found] == ["/v1/predict", "/v1/predict", "unmatched"]
    assert found[0]["version"] == "1"
    assert found[1]["refused"] == ["unreadable"]
    assert all(line["ms"] >= 0 for line in found)


def test_the_key_of_the_metrics_reads_them_and_nothing_else(serving: Serving) -> None:
    found = Keys([hashlib.sha256(KEY.encode()).digest()], metrics_digest=hashlib.sha256(b"prometheus").digest())
    with client_of(service_with(serving, found)) as client:
        for route in ROUTES:
            if route.path not in OPEN:
                method, path = _requests(route)
                answer = client.request(method, path, headers={"Authorization": "Bearer prometheus"})
                assert answer.status_code == (200 if path == "/metrics" else 401), path
