"""Object stores, against servers on this machine: DVC pushes and pulls, MLflow keeps a training's weights."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from pneumonia.modelling.weights import read_state, state_digest
from pneumonia.tracking.client import mlflow_client
from tests.support.mlflow_server import Server
from tests.support.object_stores import ObjectStore
from tests.support.runs import settings
from tests.support.trained import leave_run, save

pytestmark = pytest.mark.integration
STORES = {"s3": "s3_server", "gs": "gcs_server"}
CLIENTS = {"s3": "boto3", "gs": "google.cloud.storage"}
"""What MLflow's server reaches a store with: deployments/mlflow/requirements.in."""


@pytest.fixture
def store(request: pytest.FixtureRequest) -> ObjectStore:
    running: ObjectStore = request.getfixturevalue(STORES[request.param])
    return running


@pytest.fixture
def bucket() -> str:
    """A name: the servers are the whole session's."""
    return f"pneumonia-{uuid.uuid4().hex[:12]}"


@pytest.mark.parametrize("store", ["s3", "gs"], indirect=True)
def test_a_fresh_clone_gets_what_was_pushed(store: ObjectStore, bucket: str, phantoms: Path, tmp_path: Path) -> None:
    radiographs = sorted((phantoms / "train").rglob("*.jpeg"))[:4]
    digests = []
    for number, radiograph in enumerate(radiographs):
        path = tmp_path / "project" / "radiographs" / radiograph.parent.name / f"{number}.jpeg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(radiograph.read_bytes())
        digests.append(
            [
                f"radiographs/{radiograph.parent.name}/{number}.jpeg",
                hashlib.md5(radiograph.read_bytes(), usedforsecurity=False).hexdigest(),
            ]
        )
    url = store.make_bucket(bucket)
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("push_and_pull.py"), tmp_path / "project", f"{url}/dvc"],
        env=os.environ | store.environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(json.loads(done.stdout)) == sorted(digests)


@contextmanager
def mlflow_on(store: ObjectStore, bucket: str, folder: Path) -> Iterator[Server]:
    """Run MLflow's server, which passes artifacts on to a bucket: whoever trains has no key of the store."""
    if importlib.util.find_spec(CLIENTS[store.scheme]) is None:
        pytest.skip(f"{CLIENTS[store.scheme]} is not installed: the extra storage brings it")
    folder.mkdir()
    server = Server(folder, f"{store.make_bucket(bucket)}/mlflow", store.environment)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def keys(store: ObjectStore, bucket: str) -> list[str]:
    """Return the names of the objects in a bucket."""
    if store.scheme == "s3":
        listing = requests.get(f"{store.address}/{bucket}?list-type=2", timeout=30).text
        return [part.partition("</Key>")[0] for part in listing.split("<Key>")[1:]]
    listing = requests.get(f"{store.address}/storage/v1/b/{bucket}/o", timeout=30).json()
    return [item["name"] for item in listing["items"]]


@pytest.mark.parametrize("store", ["s3", pytest.param("gs", marks=pytest.mark.nightly)], indirect=True)
def test_a_trainings_weights_go_to_the_bucket_and_come_back(store: ObjectStore, bucket: str, tmp_path: Path) -> None:
    weights = save(tmp_path / "model.safetensors", "pneumonia-tiny-phantom")
    with mlflow_on(store, bucket, tmp_path / "server") as server:
        run = leave_run(settings(tmp_path / "work", server.url), weights)
        (key,) = (name for name in keys(store, bucket) if name.endswith(f"{run}/artifacts/weights/model.safetensors"))
        assert key.startswith("mlflow/")
        client = mlflow_client(server.url)
        (tmp_path / "back").mkdir()
        back = client.download_artifacts(run, "weights/model.safetensors", str(tmp_path / "back"))
        assert not (tmp_path / "server/artifacts").exists()
    assert state_digest(read_state(Path(back))) == state_digest(read_state(weights))
