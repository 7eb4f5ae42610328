"""Print the Secrets of an installation as manifests, from the file of secrets that write_env.py writes.

    python3 deployments/scripts/write_env.py cluster.env
    python3 deployments/kubernetes/write_secrets.py cluster.env service | kubectl apply --namespace pneumonia -f -
    python3 deployments/kubernetes/write_secrets.py cluster.env airflow | kubectl apply --namespace airflow -f -

`service` is what the chart refers to, `airflow` what airflow-values.yaml does. The key of the pseudonyms is written
beside the file once, for `service`, as FILE.patient.key, and read from there ever after, for both. Keep both files
where nobody else reads them.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import secrets
import sys
import tempfile
from pathlib import Path
from typing import Any

SERVICE = (
    "POSTGRES_PASSWORD",
    "AIRFLOW_DB_PASSWORD",
    "MLFLOW_DB_PASSWORD",
    "MONITORING_DB_PASSWORD",
    "MLFLOW_SECRET_KEY",
    "MLFLOW_ADMIN_PASSWORD",
    "MLFLOW_PIPELINE_PASSWORD",
    "MLFLOW_SERVING_PASSWORD",
    "PNEUMONIA_API_KEY",
    "PNEUMONIA_METRICS_KEY",
    "PNEUMONIA_WEBHOOK_TOKEN",
    "AIRFLOW_ALERTS_PASSWORD",
)
AIRFLOW = (
    "AIRFLOW_ADMIN_USER",
    "AIRFLOW_ADMIN_PASSWORD",
    "AIRFLOW_ALERTS_USER",
    "AIRFLOW_ALERTS_PASSWORD",
    "MLFLOW_PIPELINE_PASSWORD",
    "MONITORING_DB_PASSWORD",
)
CHARTS_OWN = {
    "fernet-key": "AIRFLOW_FERNET_KEY",
    "api-secret-key": "AIRFLOW_SECRET_KEY",
    "jwt-secret": "AIRFLOW_JWT_SECRET",
}
"""Keys under which Airflow's chart looks, and the names in the file."""
PATIENT_KEY_BYTES = 32


def read(path: Path) -> dict[str, str]:
    """Return the variables of the file."""
    pairs = (line.partition("=") for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs if name.strip()}


def patient_key(path: Path) -> bytes:
    """Return the key of the pseudonyms, which is made once, whole or not at all.

    Raises:
        ValueError: the file has no key's length.
    """
    if not path.exists():
        descriptor, partial = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".partial", dir=path.parent)  # mode 0600
        try:
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(secrets.token_bytes(PATIENT_KEY_BYTES))
                opened.flush()
                os.fsync(opened.fileno())
            with contextlib.suppress(FileExistsError):  # another call was first, and its key holds
                os.link(partial, path)
        finally:
            Path(partial).unlink()
    key = path.read_bytes()
    if len(key) != PATIENT_KEY_BYTES:
        raise ValueError(
            f"{path}: has {len(key)} bytes, not {PATIENT_KEY_BYTES}; bring the key of a running installation back, "
            "or delete the file where there is none yet, and a new key is made"
        )
    return key


def secret(name: str, data: dict[str, bytes]) -> dict[str, Any]:
    """Return the manifest of a Secret."""
    coded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "Opaque", "data": coded}


def manifests(path: Path, whose: str, database: str) -> list[dict[str, Any]]:
    """Return the Secrets of the service or of Airflow.

    Raises:
        KeyError: the file lacks a secret, or has it without a value.
        OSError: the file cannot be read.
        ValueError: the key of the pseudonyms is damaged, or not there yet where Airflow needs the service's.
    """
    held = {name: value for name, value in read(path).items() if value}
    beside = path.with_name(f"{path.name}.patient.key")
    if whose == "service":
        named = {name: held[name].encode() for name in SERVICE}
        key = patient_key(beside)
        return [secret("pneumonia", named), secret("pneumonia-patient-key", {"patient.key": key})]
    named = {name: held[name].encode() for name in AIRFLOW} | {
        key: held[name].encode() for key, name in CHARTS_OWN.items()
    }
    if not beside.exists():
        raise ValueError(
            f"{beside}: is not there; bring the service's, or run this script for `service` first, which makes it: "
            "with a key of their own the steps would give every patient another pseudonym"
        )
    named["PNEUMONIA_PATIENT_KEY"] = patient_key(beside).hex().encode()
    named["connection"] = f"postgresql+psycopg2://airflow:{held['AIRFLOW_DB_PASSWORD']}@{database}/airflow".encode()
    return [secret("airflow-keys", named)]


def main() -> None:
    """Print the manifests that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("whose", choices=("service", "airflow"))
    parser.add_argument(
        "--database", default="pneumonia-postgres.pneumonia:5432", metavar="HOST:PORT", help="Airflow's PostgreSQL"
    )
    given = parser.parse_args()
    try:
        items = manifests(given.file, given.whose, given.database)
    except FileNotFoundError:
        sys.exit(f"{given.file}: is not there; python3 deployments/scripts/write_env.py {given.file} makes it")
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    except KeyError as error:
        sys.exit(
            f"{given.file}: holds no {error.args[0]}; python3 deployments/scripts/write_env.py {given.file} adds it"
        )
    json.dump({"apiVersion": "v1", "kind": "List", "items": items}, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
