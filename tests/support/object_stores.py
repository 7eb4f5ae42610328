"""Object stores for tests: S3 by moto's server, Google Cloud Storage by its emulator; both on this machine.

The servers are of the environment of the tools of delivery (`make install-delivery`), which a test calls as programs.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import requests

from tests.support.mlflow_server import free_port

DELIVERY = Path(__file__).parents[2] / ".venv-delivery" / "bin"
START_SECONDS = 120  # three on a machine that does nothing else
PROJECT, REGION = "pneumonia-tests", "us-east-1"
NO_PROXY = "127.0.0.1,localhost"


class ObjectStore(NamedTuple):
    """A store that is running.

    Attributes:
        scheme: ``s3`` or ``gs``.
        address: of its server.
        environment: variables with which the clients' libraries reach it, and no other.
    """

    scheme: str
    address: str
    environment: dict[str, str]

    def make_bucket(self, name: str) -> str:
        """Make a bucket, and return its URL."""
        if self.scheme == "s3":
            done = requests.put(f"{self.address}/{name}", timeout=30)
        else:
            place = f"{self.address}/storage/v1/b?project={PROJECT}"
            done = requests.post(place, json={"name": name}, timeout=30)
        assert done.ok, done.text
        return f"{self.scheme}://{name}"


@contextmanager
def s3(folder: Path) -> Iterator[ObjectStore]:
    """Run moto's server: S3 without a check of keys, kept in memory."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    environment = {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing-secret",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(folder / "no-aws-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "no-aws-credentials"),
        "NO_PROXY": NO_PROXY,
        "no_proxy": NO_PROXY,
    }
    with _running("moto_server", ["-H", "127.0.0.1", "-p", str(port)], f"{address}/moto-api/", folder):
        yield ObjectStore("s3", address, environment)


@contextmanager
def gcs(folder: Path) -> Iterator[ObjectStore]:
    """Run the emulator of Google Cloud Storage, which asks for no login, kept in memory."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    environment = {
        "STORAGE_EMULATOR_HOST": address,
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # asks for a login to find out the kind of a bucket
        "NO_PROXY": NO_PROXY,
        "no_proxy": NO_PROXY,
    }
    arguments = ["start", "--host", "127.0.0.1", "--port", str(port), "--in-memory", "--quiet"]
    with _running("gcp-storage-emulator", arguments, f"{address}/storage/v1/b?project={PROJECT}", folder):
        yield ObjectStore("gs", address, environment)


@contextmanager
def _running(program: str, arguments: list[str], ready: str, folder: Path) -> Iterator[None]:
    """Run a server until the block ends."""
    if not (DELIVERY / program).exists():
        pytest.skip(f"{program} is not installed: make install-delivery")
    log = folder / f"{program}.log"
    with log.open("ab") as output:
        process = subprocess.Popen([str(DELIVERY / program), *arguments], stdout=output, stderr=output, cwd=folder)
    try:
        end = time.monotonic() + START_SECONDS
        while not _answers(ready):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False
