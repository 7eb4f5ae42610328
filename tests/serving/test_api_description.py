"""The OpenAPI document is what the service does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pneumonia.serving.keys import Keys
from pneumonia.serving.routes import ROUTES
from tests.support.serving import client_of, mirror, server_of, service_with


def references(document: Any) -> set[str]:
    if isinstance(document, dict):
        own = {document["$ref"]} if isinstance(document.get("$ref"), str) else set()
        return own.union(*(references(value) for value in document.values()))
    return set().union(*(references(each) for each in document)) if isinstance(document, list) else set()


def test_every_route_is_described_and_every_reference_is_there(client: Any) -> None:
    document = client.get("/openapi.json").json()
    described = {(method.upper(), path) for path, each in document["paths"].items() for method in each}
    assert described == {(route.method, route.path) for route in ROUTES if route.shown}
    schemas = document["components"]["schemas"]
    assert {reference.rpartition("/")[2] for reference in references(document)} <= set(schemas)
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
    assert "security" not in json.dumps(document)


def test_keys_are_described_where_they_are_asked_for() -> None:
    with client_of(service_with(None, Keys([bytes(32)]))) as client:
        document = client.app.openapi()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "header"}
    assert document["paths"]["/v1/predict"]["post"]["security"] == [{"bearer": []}, {"header": []}]
    assert "401" in document["paths"]["/v1/predict"]["post"]["responses"]
    assert "security" not in document["paths"]["/healthz"]["get"]


@pytest.mark.integration
def test_schemathesis_finds_nothing(exports: Path, tmp_path: Path) -> None:
    """Requests that are drawn from the document get answers that are in it, and no 5xx."""
    mirror(tmp_path / "work", exports, 1)
    with server_of(tmp_path / "work") as server:
        command = [
            str(Path(sys.executable).with_name("schemathesis")), "run", f"{server.url}/openapi.json",
            "--exclude-checks", "positive_data_acceptance",  # that bytes are a radiograph, no schema can say
            "--max-examples", "15", "--seed", "1", "--phases", "examples,coverage,fuzzing",
            "--suppress-health-check", "all", "--request-timeout", "60", "--generation-database", "none", "--no-color",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500, cwd=tmp_path)
        assert done.returncode == 0, done.stdout[-6000:]
