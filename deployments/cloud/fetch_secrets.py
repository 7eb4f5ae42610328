"""Print a secret manager's secrets as lines of .env.

    python3 fetch_secrets.py aws REGION NAME…
    python3 fetch_secrets.py gcp PROJECT NAME…

A secret's name is the project's, a hyphen and the variable's: pneumonia-PNEUMONIA_API_KEY. The machine's own role reads
them; no key lies on it. Runs on a new machine's Python, with no package of the project.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import urllib.request
from typing import Any

METADATA = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token"
SECRETS = "https://secretmanager.googleapis.com/v1"
SECONDS = 30


def from_aws(region: str, names: list[str]) -> dict[str, str]:
    """Read AWS Secrets Manager with boto3, which is installed from Ubuntu's packages where it is missing."""
    try:
        import boto3
    except ModuleNotFoundError:
        subprocess.run(["apt-get", "install", "--yes", "--quiet", "python3-boto3"], check=True, stdout=sys.stderr)
        import boto3
    client = boto3.client("secretsmanager", region_name=region)
    return {name: client.get_secret_value(SecretId=name)["SecretString"] for name in names}


def answer(url: str, headers: dict[str, str]) -> Any:
    """Return the JSON that an address answers with."""
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=SECONDS) as found:  # noqa: S310
        return json.load(found)


def from_gcp(project: str, names: list[str]) -> dict[str, str]:
    """Read Google's Secret Manager with the token that the machine's metadata server gives."""
    token = answer(os.environ.get("METADATA", METADATA), {"Metadata-Flavor": "Google"})["access_token"]
    place = f"{os.environ.get('SECRETS', SECRETS)}/projects/{project}/secrets"
    found = {
        name: answer(f"{place}/{name}/versions/latest:access", {"Authorization": f"Bearer {token}"}) for name in names
    }
    return {name: base64.b64decode(one["payload"]["data"]).decode() for name, one in found.items()}


def main(cloud: str, place: str, *names: str) -> None:
    """Print NAME=value for every secret, or nothing where one cannot be read."""
    values = {"aws": from_aws, "gcp": from_gcp}[cloud](place, list(names))
    for name, value in values.items():
        if not value or "\n" in value:
            raise SystemExit(f"{name}: is empty or has several lines; .env takes one line")
    print("".join(f"{name.partition('-')[2]}={value}\n" for name, value in values.items()), end="")


if __name__ == "__main__":
    main(*sys.argv[1:])
