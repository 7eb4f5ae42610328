"""The Compose file, the Dockerfile and what belongs to them, without an engine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pneumonia.config.resolve import resolve
from tests.deployments.stack import ROOT, compose_config
from tests.support.loaded import loaded

pytestmark = pytest.mark.integration
SECRETS = (
    "POSTGRES_PASSWORD",
    "AIRFLOW_DB_PASSWORD",
    "MLFLOW_DB_PASSWORD",
    "MLFLOW_SECRET_KEY",
    "MLFLOW_ADMIN_USER",
    "MLFLOW_ADMIN_PASSWORD",
    "MLFLOW_PIPELINE_USER",
    "MLFLOW_PIPELINE_PASSWORD",
    "MLFLOW_SERVING_USER",
    "MLFLOW_SERVING_PASSWORD",
    "PNEUMONIA_API_KEY",
    "PNEUMONIA_METRICS_KEY",
    "PNEUMONIA_WEBHOOK_TOKEN",
    "AIRFLOW_JWT_SECRET",
    "AIRFLOW_SECRET_KEY",
    "AIRFLOW_FERNET_KEY",
    "AIRFLOW_ADMIN_USER",
    "AIRFLOW_ADMIN_PASSWORD",
    "AIRFLOW_ALERTS_USER",
    "AIRFLOW_ALERTS_PASSWORD",
    "GRAFANA_ADMIN_USER",
    "GRAFANA_ADMIN_PASSWORD",
)
AIRFLOW = {"airflow-apiserver", "airflow-scheduler", "airflow-dag-processor"}
WATCHING = {"alert-webhook", "prometheus", "alertmanager"}
RUNNING = {"postgres", "mlflow", "serving"} | AIRFLOW | WATCHING
CELERY = ROOT / "deployments/compose.celery.yml"


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    path = tmp_path / "env"
    subprocess.run([sys.executable, ROOT / "deployments/scripts/write_env.py", path], check=True, timeout=30)
    return path


@pytest.fixture
def services(docker: None, env_file: Path) -> dict[str, Any]:
    done = compose_config(env_file)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["services"]
    return found


@pytest.mark.parametrize("name", SECRETS)
def test_without_a_secret_nothing_starts(docker: None, env_file: Path, name: str) -> None:
    env_file.write_text(re.sub(rf"^{name}=.*$", f"{name}=", env_file.read_text(), flags=re.MULTILINE))
    done = compose_config(env_file)
    assert done.returncode != 0
    assert name in done.stderr
    assert "make up" in done.stderr


def test_the_parts_are_the_documented_ones(services: dict[str, Any]) -> None:
    assert set(services) == RUNNING | {"airflow-init"}


def test_every_port_is_this_machines_alone(services: dict[str, Any]) -> None:
    ports = {(port["host_ip"], port["published"]) for one in services.values() for port in one.get("ports", [])}
    assert ports == {("127.0.0.1", port) for port in ("5000", "8080", "8000", "9090", "9093")}


def test_the_database_is_published_only_when_asked(docker: None, env_file: Path) -> None:
    """By COMPOSE_FILE in .env, which every make target and a plain docker compose read."""
    asked = "COMPOSE_FILE=docker-compose.yml:deployments/compose.database-port.yml\nPOSTGRES_PORT=5499\n"
    env_file.write_text(env_file.read_text() + asked)
    done = compose_config(env_file)
    assert done.returncode == 0, done.stderr
    (port,) = json.loads(done.stdout)["services"]["postgres"]["ports"]
    assert (port["host_ip"], port["published"], port["target"]) == ("127.0.0.1", "5499", 5432)


def test_each_part_is_on_the_networks_that_it_needs_and_no_other(docker: None, env_file: Path) -> None:
    done = json.loads(compose_config(env_file, "--profile", "data", "--profile", "grafana").stdout)
    joined = {name: set(service["networks"]) for name, service in done["services"].items()}
    assert joined == {
        "postgres": {"database"},
        "mlflow": {"database", "tracking", "web"},
        "airflow-init": {"database"},
        "airflow-apiserver": {"database", "control", "web"},
        "airflow-scheduler": {"database", "control", "tracking", "downloads"},
        "airflow-dag-processor": {"database", "control"},
        "serving": {"database", "tracking", "monitoring", "web"},
        "alert-webhook": {"control", "tracking", "monitoring"},
        "prometheus": {"monitoring", "web"},
        "alertmanager": {"monitoring", "web"},
        "grafana": {"monitoring", "web"},
        "data": {"downloads"},
    }
    inside = {name for name, network in done["networks"].items() if network.get("internal")}
    assert inside == {"database", "control", "tracking", "monitoring"}


def test_only_the_parts_that_run_steps_and_serve_have_a_tracking_login_each_its_own(services: dict[str, Any]) -> None:
    holders = {
        name: one["environment"]["MLFLOW_TRACKING_USERNAME"]
        for name, one in services.items()
        if "MLFLOW_TRACKING_PASSWORD" in one["environment"]
    }
    assert holders == {"airflow-scheduler": "pipeline", "serving": "serving"}
    assert not set(services["serving"]["environment"]) & {"MLFLOW_PIPELINE_PASSWORD", "POSTGRES_PASSWORD"}
    for name, one in services.items():
        if name != "mlflow":
            assert not [key for key in one["environment"] if "MLFLOW" in key and "ADMIN" in key], name


def test_every_part_is_watched_limited_restarted_and_confined(docker: None, env_file: Path) -> None:
    services = json.loads(compose_config(env_file, "--profile", "grafana").stdout)["services"]
    for name, service in services.items():
        assert 0 < service["pids_limit"] <= 4096, name
        assert int(service["mem_limit"]) <= 5 * 2**30, name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name
        if name in RUNNING | {"grafana"}:
            assert service["healthcheck"]["test"], name
            assert service["restart"] == "unless-stopped", name


def test_what_watches_has_secrets_of_its_own_which_no_argument_shows(services: dict[str, Any], env_file: Path) -> None:
    """Prometheus may read the metrics, Alertmanager may come to the webhook, the webhook may start one DAG."""
    settings = dict(line.split("=", 1) for line in env_file.read_text().splitlines())
    secrets = {name for name, value in settings.items() if len(value) >= 16}
    held = {}
    for name in WATCHING:
        service = services[name]
        text = json.dumps([service.get("command"), service.get("entrypoint"), service["healthcheck"]])
        assert not [secret for secret in secrets if settings[secret] in text]
        held[name] = {secret for secret in secrets if settings[secret] in service["environment"].values()}
    assert held == {
        "alert-webhook": {"AIRFLOW_ALERTS_PASSWORD", "PNEUMONIA_WEBHOOK_TOKEN"},
        "prometheus": {"PNEUMONIA_METRICS_KEY"},
        "alertmanager": {"PNEUMONIA_WEBHOOK_TOKEN"},
    }


def test_what_watches_waits_for_nothing(services: dict[str, Any]) -> None:
    """It is there to say what is not."""
    assert not [name for name in WATCHING if services[name].get("depends_on")]


def test_the_service_is_followed_by_its_settings_and_waits_for_nothing(
    services: dict[str, Any], env_file: Path
) -> None:
    """It starts from its volume alone; the model is auto, unless .env names one."""
    assert not services["serving"].get("depends_on")
    assert services["serving"]["environment"]["PNEUMONIA_SERVING__MODEL"] == "auto"
    env_file.write_text(env_file.read_text() + "SERVING_MODEL=mine\nSERVING_PORT=8123\n")
    named = json.loads(compose_config(env_file).stdout)["services"]["serving"]
    assert named["environment"]["PNEUMONIA_SERVING__MODEL"] == "mine"
    assert [port["published"] for port in named["ports"]] == ["8123"]
    resolve(environment=named["environment"])  # every setting is one of the configuration's


def test_airflow_waits_for_the_database_and_for_its_migration(services: dict[str, Any]) -> None:
    for name in AIRFLOW:
        needs = {other: need["condition"] for other, need in services[name]["depends_on"].items()}
        assert needs == {"postgres": "service_healthy", "airflow-init": "service_completed_successfully"}


def test_what_a_restart_must_not_lose_lies_in_named_volumes(services: dict[str, Any]) -> None:
    mounts = {
        (mount["source"], mount["target"])
        for service in services.values()
        for mount in service.get("volumes", [])
        if mount["type"] == "volume"
    }
    assert mounts == {
        ("postgres", "/var/lib/postgresql/data"),
        ("artifacts", "/var/lib/mlflow"),
        ("work", "/var/lib/pneumonia"),
        ("serving", "/var/lib/pneumonia"),
        ("monitoring", "/var/lib/monitoring"),
        ("ingested", "/srv/pneumonia/ingested"),
        ("prometheus", "/prometheus"),
        ("alertmanager", "/alertmanager"),
        ("airflow-logs", "/var/log/airflow"),
        ("data", "/srv/pneumonia/data"),
    }


def test_nothing_of_the_checkout_is_mounted(services: dict[str, Any]) -> None:
    """Under umask 077 only its owner could read it, and in a container that is somebody else."""
    assert {mount["type"] for service in services.values() for mount in service.get("volumes", [])} == {"volume"}


def test_images_may_come_from_a_folder_of_the_machine_and_are_only_read(docker: None, env_file: Path) -> None:
    env_file.write_text(env_file.read_text() + "DATA_DIR=/somewhere/data\n")
    mounts = json.loads(compose_config(env_file).stdout)["services"]["airflow-scheduler"]["volumes"]
    data = next(mount for mount in mounts if mount["target"] == "/srv/pneumonia/data")
    assert (data["type"], data["source"], data["read_only"]) == ("bind", "/somewhere/data", True)


def test_the_celery_override_is_sound(docker: None, env_file: Path) -> None:
    done = compose_config(env_file, "--file", "docker-compose.yml", "--file", str(CELERY))
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    assert services["airflow-scheduler"]["environment"]["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor"
    worker = services["airflow-worker"]
    assert worker["depends_on"]["redis"]["condition"] == "service_healthy"
    assert worker["environment"]["AIRFLOW__API_AUTH__JWT_SECRET"]
    assert worker["environment"]["MLFLOW_TRACKING_PASSWORD"]
    assert set(worker["networks"]) == {"database", "control", "tracking", "downloads", "queue"}
    assert all(service["pids_limit"] > 0 for service in services.values())


def test_the_celery_queue_has_a_password_that_no_process_shows(docker: None, env_file: Path) -> None:
    files = ("--file", "docker-compose.yml", "--file", str(CELERY))
    services = json.loads(compose_config(env_file, *files).stdout)["services"]
    password = dict(line.split("=", 1) for line in env_file.read_text().splitlines())["REDIS_PASSWORD"]
    assert len(password) >= 32
    for name in ("airflow-scheduler", "airflow-worker", "airflow-apiserver"):
        assert services[name]["environment"]["AIRFLOW__CELERY__BROKER_URL"] == f"redis://:{password}@redis:6379/0"
    assert "requirepass" in " ".join(services["redis"]["command"])
    assert password not in json.dumps([services["redis"]["command"], services["redis"]["healthcheck"]])
    assert set(services["redis"]["networks"]) == {"queue"}
    env_file.write_text(re.sub(r"^REDIS_PASSWORD=.*$", "", env_file.read_text(), flags=re.MULTILINE))
    assert "REDIS_PASSWORD" in compose_config(env_file, *files).stderr


@pytest.mark.integration
def test_dockerfile_lint() -> None:
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, "deployments/Dockerfile"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    assert done.stdout == ""


def test_each_image_ends_as_a_plain_user() -> None:
    text = (ROOT / "deployments/Dockerfile").read_text()
    for target in ("mlflow", "airflow", "serving"):
        stage = text.split(f"FROM base AS {target}\n")[1].split("\nFROM ")[0]
        assert stage.count("USER 1000:1000") == 1
        assert stage.index("USER 1000:1000") < stage.index("CMD")


def test_what_images_take_from_the_checkout_gets_permissions_of_its_own() -> None:
    """Under umask 077 the checkout's own would let nobody but root read it; a folder needs the x beside the r."""
    lines = [line for line in (ROOT / "deployments/Dockerfile").read_text().splitlines() if re.match("COPY|ADD", line)]
    outside = [line for line in lines if not re.match(r"COPY --from=[a-z]+ ", line)]
    assert len(outside) >= 7
    for line in outside:
        found = re.match(r"COPY --chmod=(644|755) (.+) \S+$", line)
        assert found, line
        assert found[1] == "755" or all((ROOT / name).is_file() for name in found[2].split()), line


def tracked_files() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, timeout=30
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listing.stdout.decode().splitlines() if (ROOT / name).is_file()]


def test_no_image_is_named_without_its_version() -> None:
    files = [ROOT / "docker-compose.yml", CELERY, ROOT / "deployments/Dockerfile"]
    text = "\n".join(path.read_text() for path in files)
    named = re.findall(r"^(?:\s*image:|FROM)\s+(\S+)", text, re.MULTILINE)
    stages = {*re.findall(r" AS (\S+)$", text, re.MULTILINE)}
    outside = [name for name in named if name not in stages]
    assert "postgres:17-trixie" in outside
    assert all(re.search(r":[^:/]*\d", name) for name in outside), outside
    assert "latest" not in text


def test_no_password_stands_in_the_tree() -> None:
    # what sets a password to a literal; the demo's documented login is made in one place, write_env.py
    pattern = re.compile(r"""(?i)(?:password|secret|_key)["']?\s*(?:=|: )\s*["']?([A-Za-z0-9_\-]{4,})""")
    found = []
    for path in tracked_files():
        if path.suffix in {".yml", ".yaml", ".sh", ".mk", ".env", ".toml", ".cfg", ".ini"} or path.name == "Dockerfile":
            found += [f"{path.name}: {match[0]}" for match in pattern.finditer(path.read_text())]
    assert found == []
    assert not any(path.name == ".env" for path in tracked_files())
    assert 'DEMO = "airflow"' in (ROOT / "deployments/scripts/write_env.py").read_text()


def test_mlflow_does_not_hash_a_password_for_every_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow knows the setting; the module is loaded alone, since its package asks for what the server alone has."""
    import mlflow

    reader = loaded(Path(mlflow.__file__).parent / "server/auth/config.py")
    path = tmp_path / "basic_auth.ini"
    path.write_text(loaded(ROOT / "deployments/mlflow/serve.py").CONFIG.format(database="sqlite://", admin="admin"))
    monkeypatch.setenv("MLFLOW_AUTH_CONFIG_PATH", str(path))
    found = reader.read_auth_config()
    assert (found.auth_cache_ttl_seconds, found.default_permission, found.admin_username) == (60, "READ", "admin")
