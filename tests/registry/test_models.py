"""The versions of registered models, and their champions."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from pneumonia.errors import PneumoniaError, TrackingError
from pneumonia.registry import models, moves, registration, withdrawals
from pneumonia.tracking import client
from pneumonia.tracking.client import mlflow_client
from tests.support.mlflow_server import free_port
from tests.support.registered import NAME, promote, promoted, registered
from tests.support.trained import record_of


def test_the_same_weights_of_the_same_run_are_registered_once(any_uri: str) -> None:
    name = f"once-{uuid.uuid4().hex}"
    first = registered(any_uri, name, "ab" * 32)
    model = mlflow_client(any_uri).search_logged_models(["0"], filter_string=f"source_run_id = '{first.run_id}'")[0]
    source = f"models:/{model.model_id}"
    again = registration.register(any_uri, record_of(name, "ab" * 32), first.run_id, source)
    other = registration.register(any_uri, record_of(name, "cd" * 32), first.run_id, source)
    assert again == first
    assert [version.version for version in models.versions(any_uri, name)] == ["1", "2"]
    assert (other.version, other.uri) == ("2", f"models:/{name}/2")
    assert first.weights_digest == "ab" * 32
    assert mlflow_client(any_uri).get_model_version(name, "1").tags["profile"] == "full"


def test_a_version_leads_to_its_model(any_uri: str) -> None:
    name = f"leads-{uuid.uuid4().hex}"
    version = registered(any_uri, name)
    client = mlflow_client(any_uri)
    model = client.search_logged_models(["0"], filter_string=f"source_run_id = '{version.run_id}'")[0]
    assert client.get_model_version_download_uri(name, version.version) == model.artifact_location


def test_versions_are_in_order_beyond_a_page(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(11):
        registered(uri)
    whole = MlflowClient.search_model_versions
    monkeypatch.setattr(MlflowClient, "search_model_versions", lambda *a, **k: whole(*a, **{**k, "max_results": 3}))
    assert [version.version for version in models.versions(uri, NAME)] == [str(number) for number in range(1, 12)]


def test_get_by_number_and_by_alias(uri: str) -> None:
    promoted(uri, 2)
    assert models.get(uri, NAME, "1").aliases == ["previous"]
    assert models.get(uri, NAME, "champion").version == "2"
    with pytest.raises(PneumoniaError, match=r"'7'; there are: 1 \(previous\), 2 \(champion\)"):
        models.get(uri, NAME, "7")


def test_a_machine_without_a_database_has_no_models_and_gets_none(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert models.champion(uri, NAME) is None
    assert models.versions(uri, NAME) == models.champions(uri) == models.history(uri, NAME) == []
    with pytest.raises(PneumoniaError, match=r"flows/pipeline\.py"):
        moves.rollback(uri, NAME, "ada", "why", leaving="1")
    assert withdrawals.withdrawal(uri, record_of(NAME, "ab" * 32)) is None
    assert list(tmp_path.iterdir()) == []


def test_champions_of_all_names(uri: str) -> None:
    promoted(uri, 1)
    registered(uri, "without")
    registered(uri, f"{NAME}-phantom")
    promote(uri, "1", f"{NAME}-phantom")
    assert [version.name for version in models.champions(uri)] == [NAME, f"{NAME}-phantom"]


def test_an_unreachable_registry_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PATIENCE", 1.0)
    address = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(TrackingError, match=rf"{address}.*Connection refused"):
        models.champion(address, NAME)
