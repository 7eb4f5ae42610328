"""The dossier of the model that answers: the page that lies beside its files, as it was registered."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from pneumonia.inference.served_model import ServedModel
from pneumonia.records.signature import MANIFEST_FILE, SIGNATURE_FOLDER, Manifest
from pneumonia.registry import dossier_page
from pneumonia.serving.follower import Serving
from pneumonia.serving.keys import Keys
from tests.support.serving import champion_of, client_of, service_with

PAGE = b"<!doctype html><title>Dossier</title>"


@pytest.fixture
def serving(exports: Path, tmp_path: Path) -> Serving:
    """A model of a folder of its own."""
    folder = shutil.copytree(exports / "1", tmp_path / "export")
    found = champion_of(exports, 1)
    return Serving(ServedModel(folder, found.name, found.version, service_with(None).config), found)


def manifest(folder: Path, digest: str) -> None:
    listed = Manifest(
        name="n", model_digest="m", weights_digest="w", data_digest="d", git_commit=None, created="2026-01-02",
        files={dossier_page.PAGE: digest},
    )  # fmt: skip
    (folder / SIGNATURE_FOLDER).mkdir(exist_ok=True)
    (folder / SIGNATURE_FOLDER / MANIFEST_FILE).write_text(listed.model_dump_json())


def test_a_model_without_one_says_how_to_write_it(serving: Serving) -> None:
    with client_of(service_with(serving)) as client:
        assert client.get("/v1/model").json()["dossier"] is False
        answer = client.get("/dossier")
    assert answer.status_code == 404
    assert "pneumonia dossier" in answer.json()["detail"]


def test_it_is_shown_with_its_style_and_pictures_and_no_script(serving: Serving) -> None:
    dossier_page.put_beside(serving.model.folder, PAGE)
    manifest(serving.model.folder, hashlib.sha256(PAGE).hexdigest())
    with client_of(service_with(serving)) as client:
        assert client.get("/v1/model").json()["dossier"] is True
        answer = client.get("/dossier")
    assert (answer.status_code, answer.content) == (200, PAGE)
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in policy
    assert "script" not in policy


def test_another_page_than_was_registered_is_not_shown(serving: Serving) -> None:
    dossier_page.put_beside(serving.model.folder, PAGE.replace(b"Dossier", b"Better!"))
    manifest(serving.model.folder, hashlib.sha256(PAGE).hexdigest())
    with client_of(service_with(serving)) as client:
        answer = client.get("/dossier")
    assert (answer.status_code, answer.json()["code"]) == (503, "damaged")


def test_it_asks_for_the_key(serving: Serving) -> None:
    dossier_page.put_beside(serving.model.folder, PAGE)
    keys = Keys([hashlib.sha256(b"right-and-long-enough").digest()])
    with client_of(service_with(serving, keys)) as client:
        assert client.get("/dossier").status_code == 401
        assert client.get("/dossier", headers={"X-API-Key": "right-and-long-enough"}).content == PAGE
