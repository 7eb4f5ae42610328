"""Write .env with a random secret for everything that needs one; existing values are kept.

    python3 deployments/scripts/write_env.py [--demo] [FILE]

--demo sets the documented login airflow/airflow, for a machine that no one else can reach.
"""

from __future__ import annotations

import argparse
import base64
import os
import secrets
from pathlib import Path

DEMO = "airflow"


def fernet() -> str:
    """Return a key for the cryptography package's Fernet: 32 bytes, URL-safe base64."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


SECRETS = {
    "POSTGRES_PASSWORD": lambda: secrets.token_hex(24),
    "AIRFLOW_DB_PASSWORD": lambda: secrets.token_hex(24),  # hexadecimal: it becomes part of a URL
    "MLFLOW_DB_PASSWORD": lambda: secrets.token_hex(24),
    "MONITORING_DB_PASSWORD": lambda: secrets.token_hex(24),
    "MLFLOW_SECRET_KEY": lambda: secrets.token_hex(32),
    "MLFLOW_ADMIN_USER": lambda: "admin",
    "MLFLOW_ADMIN_PASSWORD": lambda: secrets.token_urlsafe(18),
    "MLFLOW_PIPELINE_USER": lambda: "pipeline",
    "MLFLOW_PIPELINE_PASSWORD": lambda: secrets.token_hex(24),
    "MLFLOW_SERVING_USER": lambda: "serving",
    "MLFLOW_SERVING_PASSWORD": lambda: secrets.token_hex(24),
    "PNEUMONIA_API_KEY": lambda: secrets.token_urlsafe(24),  # of the service
    "PNEUMONIA_METRICS_KEY": lambda: secrets.token_urlsafe(24),  # opens its /metrics alone, for Prometheus
    "PNEUMONIA_WEBHOOK_TOKEN": lambda: secrets.token_urlsafe(24),  # with which Alertmanager comes to the webhook
    "REDIS_PASSWORD": lambda: secrets.token_hex(24),  # of deployments/compose.celery.yml
    "AIRFLOW_JWT_SECRET": lambda: secrets.token_hex(32),
    "AIRFLOW_SECRET_KEY": lambda: secrets.token_hex(32),
    "AIRFLOW_FERNET_KEY": fernet,
    "AIRFLOW_ADMIN_USER": lambda: "admin",
    "AIRFLOW_ADMIN_PASSWORD": lambda: secrets.token_urlsafe(18),
    "AIRFLOW_ALERTS_USER": lambda: "alerts",
    "AIRFLOW_ALERTS_PASSWORD": lambda: secrets.token_hex(24),
    "GRAFANA_ADMIN_USER": lambda: "admin",
    "GRAFANA_ADMIN_PASSWORD": lambda: secrets.token_urlsafe(18),  # of the profile grafana
}


def read(path: Path) -> dict[str, str]:
    """Return the file's variables; empty where there is no file."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    pairs = (line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def complete(path: Path, demo: bool) -> list[str]:
    """Add the missing variables, make the file readable by its owner only, and return the added names."""
    present = read(path)
    wanted = {name: make() for name, make in SECRETS.items()}
    if demo:
        wanted |= {"AIRFLOW_ADMIN_USER": DEMO, "AIRFLOW_ADMIN_PASSWORD": DEMO}
    replaced = ("AIRFLOW_ADMIN_USER", "AIRFLOW_ADMIN_PASSWORD") if demo else ()
    added = {name: value for name, value in wanted.items() if not present.get(name) or name in replaced}
    lines = [
        line
        for line in (path.read_text(encoding="utf-8").splitlines() if path.exists() else [])
        if line.partition("=")[0].strip() not in added
    ]
    partial = path.with_name(path.name + ".partial")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write("\n".join([*lines, *(f"{name}={value}" for name, value in added.items())]) + "\n")
    partial.replace(path)
    return list(added)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("file", nargs="?", type=Path, default=Path(".env"), metavar="FILE")
    parser.add_argument("--demo", action="store_true", help="the documented login airflow/airflow")
    given = parser.parse_args()
    complete(given.file, given.demo)
