"""The values for Airflow's own chart: its keys, as that chart's values.yaml names them, and what the stack gives too.

The chart itself is not rendered: it cannot be had without a network.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from pneumonia.config.resolve import resolve
from pneumonia.data.patient_key import from_environment
from tests.deployments.chart import FOLDER, PAGE, assignments, commands, read, variables_of
from tests.deployments.stack import ROOT
from tests.support.loaded import loaded

VALUES = read(FOLDER / "airflow-values.yaml")
KNOWN = {
    *("executor", "airflowVersion", "airflowHome", "uid", "gid", "extraEnv"),
    *("images.airflow.repository", "images.airflow.tag", "images.airflow.pullPolicy"),
    *("securityContexts.pod", "securityContexts.containers"),
    *("data.metadataSecretName", "fernetKeySecretName", "apiSecretKeySecretName", "jwtSecretName"),
    *("dags.persistence.enabled", "dags.gitSync.enabled"),
    *("logs.persistence.enabled", "logs.persistence.existingClaim"),
    *("workers.resources", "workers.persistence.enabled", "workers.extraVolumes", "workers.extraVolumeMounts"),
    "workers.serviceAccount.automountServiceAccountToken",
    *("createUserJob.enabled", "migrateDatabaseJob.args", "migrateDatabaseJob.env"),
    *("scheduler.logGroomerSidecar.enabled", "scheduler.resources"),
    *("dagProcessor.enabled", "dagProcessor.logGroomerSidecar.enabled", "dagProcessor.resources"),
    *("apiServer.resources", "triggerer.enabled", "statsd.enabled", "redis.enabled", "postgresql.enabled"),
}
"""Keys of the chart's values.yaml for Airflow 3.1 (chart 1.19, November 2025), as read there."""
OPEN = ("securityContexts.pod", "securityContexts.containers", "resources", "extraVolumes", "env", "args")
SECRETS_KEYS = {"connection", "fernet-key", "api-secret-key", "jwt-secret"}
"""Keys that the chart looks for in the Secrets which it is given the names of."""


def paths(values: Any, above: str = "") -> Iterator[str]:
    """The keys of the values, as far as the chart names them."""
    for name, value in values.items():
        place = f"{above}.{name}".lstrip(".")
        if isinstance(value, dict) and not place.endswith(OPEN):
            yield from paths(value, place)
        else:
            yield place


def variables() -> dict[str, dict[str, Any]]:
    """The variables of every container; Helm's own braces are left as they are."""
    return {each["name"]: each for each in yaml.safe_load(VALUES["extraEnv"])}


@pytest.fixture(scope="module")
def scripts() -> dict[str, ModuleType]:
    paths = (ROOT / "deployments/scripts/write_env.py", FOLDER / "write_secrets.py")
    return {path.stem: loaded(path) for path in paths}


def test_every_key_is_one_of_the_chart() -> None:
    assert set(paths(VALUES)) == KNOWN


def test_the_page_installs_it_with_the_readers_own_images() -> None:
    """The file's name of the image has no registry; on a cluster a node would look for it in the engine's default."""
    (words,) = [words for words in commands(PAGE) if "apache-airflow/airflow" in words]
    given = dict(each.split("=", 1) for each in assignments(words))
    assert given == {
        "images.airflow.repository": f"ghcr.io/owner/{VALUES['images']['airflow']['repository']}",
        "images.airflow.tag": "TAG",
    }
    assert set(given) <= KNOWN


def test_the_image_is_the_stacks_and_brings_its_dags() -> None:
    image = VALUES["images"]["airflow"]
    compose = read(ROOT / "docker-compose.yml")["x-airflow"]["image"]
    assert compose == f"{image['repository']}:${{STACK_VERSION:-{image['tag']}}}"
    assert not VALUES["dags"]["gitSync"]["enabled"]
    inside = variables_of("airflow")
    assert variables()["AIRFLOW__CORE__DAGS_FOLDER"]["value"] == inside["AIRFLOW__CORE__DAGS_FOLDER"]
    assert VALUES["airflowHome"] == inside["AIRFLOW_HOME"]
    pinned = (ROOT / "deployments/airflow/requirements.in").read_text()
    assert f"apache-airflow=={VALUES['airflowVersion']}\n" in pinned
    assert re.search(r"^apache-airflow-providers-cncf-kubernetes", pinned, re.MULTILINE), "the executor is in it"
    user = re.search(r"useradd --uid (\d+) --gid (\d+)", (ROOT / "deployments/Dockerfile").read_text())
    assert user
    assert (str(VALUES["uid"]), str(VALUES["gid"])) == user.groups()


def test_a_step_is_given_what_the_stack_gives_it() -> None:
    """But for what the chart itself sets."""
    services = read(ROOT / "docker-compose.yml")["services"]
    wanted = services["airflow-scheduler"]["environment"]
    charts_own = {
        "AIRFLOW__API_AUTH__JWT_SECRET",
        "AIRFLOW__API__SECRET_KEY",
        "AIRFLOW__CORE__EXECUTOR",
        "AIRFLOW__CORE__FERNET_KEY",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
    }
    more = {"AIRFLOW__CORE__DAGS_FOLDER", "AIRFLOW__LOGGING__BASE_LOG_FOLDER", "MONITORING_DB_PASSWORD"}
    given = variables()
    assert set(given) - more == set(wanted) - charts_own
    for name in set(given) - more:
        text = str(wanted[name])
        if "$" not in text and "EXECUTION_API" not in name and name != "MLFLOW_TRACKING_URI":
            assert given[name]["value"] == text, name
    settings = {name: each["value"] for name, each in given.items() if "__" in name and name.startswith("PNEUMONIA_")}
    assert resolve(environment=settings).monitoring.min_labels == 50


def test_a_step_has_the_stacks_folders() -> None:
    services = read(ROOT / "docker-compose.yml")["services"]
    wanted = {
        volume.split(":")[-2 if volume.endswith(":ro") else -1] for volume in services["airflow-scheduler"]["volumes"]
    }
    mounted = {mount["mountPath"]: mount["name"] for mount in VALUES["workers"]["extraVolumeMounts"]}
    assert wanted - {"/var/log/airflow"} == set(mounted) - {"/dev/shm"}  # noqa: S108
    assert set(mounted.values()) == {volume["name"] for volume in VALUES["workers"]["extraVolumes"]}
    assert VALUES["logs"]["persistence"]["enabled"]


def test_secrets_are_made_once_and_hold_what_is_referred_to(
    scripts: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cluster.env"
    scripts["write_env"].complete(file, demo=False)
    with pytest.raises(
        ValueError, match=r"cluster\.env\.patient\.key: is not there; bring the service's, or run .* first"
    ):
        scripts["write_secrets"].manifests(file, "airflow", "db:5432")
    first, key = scripts["write_secrets"].manifests(file, "service", "db:5432")
    (made,) = scripts["write_secrets"].manifests(file, "airflow", "db:5432")
    assert made["metadata"]["name"] == VALUES["data"]["metadataSecretName"] == VALUES["jwtSecretName"]
    referred = {
        each["valueFrom"]["secretKeyRef"]["key"]
        for each in [*variables().values(), *VALUES["migrateDatabaseJob"]["env"]]
        if "valueFrom" in each
    }
    assert set(made["data"]) == referred | SECRETS_KEYS
    held = scripts["write_env"].read(file)
    address = base64.b64decode(made["data"]["connection"]).decode()
    assert address == f"postgresql+psycopg2://airflow:{held['AIRFLOW_DB_PASSWORD']}@db:5432/airflow"

    assert (first["metadata"]["name"], key["metadata"]["name"]) == ("pneumonia", "pneumonia-patient-key")
    bytes_of_key = base64.b64decode(key["data"]["patient.key"])
    assert len(bytes_of_key) == 32
    monkeypatch.setenv("PNEUMONIA_PATIENT_KEY", base64.b64decode(made["data"]["PNEUMONIA_PATIENT_KEY"]).decode())
    assert from_environment(tmp_path / "patient.key") == bytes_of_key, "the steps' pseudonyms are the service's"
    assert scripts["write_secrets"].manifests(file, "service", "db:5432") == [first, key], "the second time the same"
    assert (tmp_path / "cluster.env.patient.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.integration
def test_a_missing_secret_is_named(tmp_path: Path) -> None:
    file = tmp_path / "cluster.env"
    file.write_text("MLFLOW_DB_PASSWORD=x\n")
    done = subprocess.run(
        [sys.executable, FOLDER / "write_secrets.py", file, "airflow"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "holds no AIRFLOW_ADMIN_USER" in done.stderr


@pytest.mark.integration
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("no file", r"cluster\.env: is not there; python3 deployments/scripts/write_env\.py \S+ makes it"),
        ("a folder", r"Is a directory: \S*cluster\.env"),
        ("an empty value", r"holds no PNEUMONIA_API_KEY; python3 deployments/scripts/write_env\.py \S+ adds it"),
        ("an empty key", r"cluster\.env\.patient\.key: has 0 bytes, not 32; bring the key .* back, or delete the file"),
    ],
)
def test_secrets_that_are_not_whole_are_refused_with_the_remedy(
    scripts: dict[str, ModuleType], tmp_path: Path, wrong: str, words: str
) -> None:
    file = tmp_path / "cluster.env"
    if wrong == "a folder":
        file.mkdir()
    elif wrong != "no file":
        scripts["write_env"].complete(file, demo=False)
    if wrong == "an empty value":
        file.write_text(re.sub(r"(?m)^PNEUMONIA_API_KEY=.*", "PNEUMONIA_API_KEY=", file.read_text()))
    if wrong == "an empty key":
        file.with_name("cluster.env.patient.key").touch()
    command = [sys.executable, FOLDER / "write_secrets.py", file, "service"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert re.search(words, done.stderr)


def test_a_key_that_cannot_be_written_leaves_nothing(
    scripts: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "cluster.env.patient.key"
    with monkeypatch.context() as during:
        during.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            scripts["write_secrets"].patient_key(path)
    assert list(tmp_path.iterdir()) == []
    assert len(scripts["write_secrets"].patient_key(path)) == 32
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.integration
def test_the_command_prints_a_list_that_kubectl_takes(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    file = tmp_path / "cluster.env"
    scripts["write_env"].complete(file, demo=False)
    command = [sys.executable, FOLDER / "write_secrets.py", file, "service"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    printed = json.loads(done.stdout)
    assert (printed["apiVersion"], printed["kind"]) == ("v1", "List")
    assert {item["kind"] for item in printed["items"]} == {"Secret"}
